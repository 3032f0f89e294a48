// M: an OS thread that runs Gs for a P. All of today's Ms are workers: each owns a poller and lives as long as run().
//
//                  take P                    find_runnable finds none
//     parked ----------------> searching --------------------------> parked (in its own poller: stop_m)
//       ^ wake_p hands it a P    |   ^                                  |
//       |  and it is spinning    v   | G parks, yields, ends            | events, a timer, or a hand-over
//       +--------------------- running ---------------------------------+
//
// I1. `curg`, `p`, `op` belong to the M's own thread. `p` is null exactly while the M is parked.
// I2. `nextp` is written by whoever took an idle P for this M (wake_p, start_m) and taken by the M when it wakes: from the
//     idle mask to `nextp` to `p` there is always exactly one owner.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include <heddle/core/internal/g.h>
#include <heddle/core/poller.h>

namespace heddle {

struct P;

/// What a G asks of its M when it leaves its stack.
enum class Leave : std::uint8_t { kPark, kYield, kExit };

struct alignas(128) M {
  int index = 0;
  P* home = nullptr;  // the P for which this M is home

  // The thread's own.
  void* g0_sp = nullptr;  // the scheduler's context while a G runs
  G* curg = nullptr;
  P* p = nullptr;
  bool spinning = false;  // has a P, seeks a G, and is counted in Sched::spinning
  Leave leave = Leave::kPark;
  ParkCommit commit = nullptr;
  void* commit_arg = nullptr;
  EhGlobals* eh = nullptr;  // this thread's __cxa_eh_globals
  std::unique_ptr<Poller> poller;
  pthread_t thread{};

  // Sanitizers' idea of the thread's own stack.
  void* g0_fake_stack = nullptr;
  void* g0_fiber = nullptr;
  const void* g0_stack_lo = nullptr;
  std::size_t g0_stack_size = 0;

  // Written by others.
  std::atomic<P*> nextp{nullptr};
  std::atomic<G*> curg_seen{nullptr};  // curg for the dump and schedtrace; written by the M
  std::atomic<bool> spinning_seen{false};
  std::atomic<bool> parked_seen{false};
};

}  // namespace heddle
