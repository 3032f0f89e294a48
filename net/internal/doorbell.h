// Doorbell: ends a worker's sleep in the kernel, at the price of a system call only when it sleeps.
//
//                     try_sleep                       ring: the caller writes to the eventfd
//        kAwake -------------------> kAsleep ------------------------------------> kRung
//         ^  |                          |                                            |
//         |  '-- ring --> kRung         '-- awaken (an event or the time came) --.   |
//         |                 |                                                    |   |
//         '--- try_sleep ---'  (says no: the ring came first)    awaken ---------+---'
//         '----------------------------------------------------------------------'
//
// I1. A ring is never lost. ring and try_sleep are RMWs of one word, so one comes first: either try_sleep finds kRung and
//     says no, or ring finds kAsleep and owes the write. What the ringer prepared before is released by its RMW and
//     acquired by try_sleep or awaken; so it is enough that the sleeper looks for work after either.
// I2. A write may arrive when the sleeper is awake already; it then ends the next sleep for nothing. That is allowed, and
//     cheaper than asking.
// I3. Nobody reads the eventfd: both back ends watch it edge by edge, and each write is an edge. Its counter cannot
//     overflow (2^64 - 2 rings).
// I4. ring() is one RMW and at most one write(2): async-signal-safe.
#pragma once

#include <atomic>
#include <cstdint>

namespace heddle::net {

template <template <class> class Atomic = std::atomic>
class BasicDoorWord {
 public:
  /// Announces sleep. False: somebody rang since the last awaken(); do not sleep. Threads: the owner.
  [[nodiscard]] bool try_sleep() noexcept {
    std::uint32_t old = kAwake;
    // acq_rel: on success releases nothing that matters, but must be in one order with ring() (I1).
    if (word_.compare_exchange_strong(old, kAsleep, std::memory_order_acq_rel, std::memory_order_acquire)) return true;
    awaken();
    return false;
  }

  /// Ends the sleep, for whatever reason; swallows a ring. Threads: the owner.
  void awaken() noexcept {
    // acq_rel: acquires what the ringer prepared.
    word_.exchange(kAwake, std::memory_order_acq_rel);
  }

  /// True: the owner sleeps, the caller must wake it through the kernel. Threads: any.
  [[nodiscard]] bool ring() noexcept {
    // acq_rel: releases what the ringer prepared.
    return word_.exchange(kRung, std::memory_order_acq_rel) == kAsleep;
  }

 private:
  enum : std::uint32_t { kAwake, kAsleep, kRung };

  Atomic<std::uint32_t> word_{kAwake};
};

/// The word with its eventfd. Source: eventfd(2).
class Doorbell {
 public:
  Doorbell();
  ~Doorbell();
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  [[nodiscard]] bool try_sleep() noexcept { return word_.try_sleep(); }
  void awaken() noexcept { word_.awaken(); }

  /// Ends the current or the next sleep. Threads: any; async-signal-safe; keeps errno.
  void ring() noexcept;

  /// To be watched for input, edge by edge.
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
  alignas(64) BasicDoorWord<> word_;  // written by every waker: not on a line with the owner's data
};

}  // namespace heddle::net
