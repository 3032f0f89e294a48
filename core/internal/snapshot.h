// Snapshot: all goroutines as of one instant, with their stacks, while the world stands still for some milliseconds at most.
//
// What is read while it stands is copied into memory that was mapped and touched before; turning that into text comes after.
//
//     count, map  ->  stop the world  ->  states of all, stacks as long as there is time  ->  start it  ->  images, text
//
// I1. Between stop and start nothing is allocated and no lock is taken: somebody may have been stopped inside malloc.
// I2. The world stands for no longer than kMostPause, or some hundred nanoseconds for each goroutine if that is more: whose stack
//     has not been copied by then is left to the report, which takes state and stack together, later (report.cc).
// I3. A world that cannot be stopped soon is left alone, and there is no snapshot: a report must come even if a goroutine
//     never lets go (asyncpreemptoff) or the scheduler itself hangs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <heddle/core/internal/g.h>
#include <heddle/core/internal/unwind.h>

namespace heddle {

/// A goroutine at the instant.
struct StillG {
  const G* g;
  std::uint64_t id;
  GStatus status;
  WaitReason reason;
  std::uint32_t line;
  const char* name;
  std::uint64_t creator;
  const char* file;
  const char* function;

  // Its stack; size 0: not copied.
  bool parked;  // at `sp`; else the registers tell
  std::uintptr_t sp;
  Registers registers;
  std::uintptr_t lo;  // where bytes[0] lay
  const std::byte* bytes;
  std::size_t size;
};

class Snapshot {
 public:
  Snapshot() = default;
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  /// False: see I3, or there is no memory. Threads: goroutines and others; with stacks, a thread that runs no goroutine.
  [[nodiscard]] bool take(bool stacks);

  [[nodiscard]] std::span<const StillG> goroutines() const noexcept { return {gs_, count_}; }

  /// The copied stack; false if there is none.
  [[nodiscard]] static bool image_of(const StillG& still, StackImage& out);

 private:
  [[nodiscard]] bool map(bool stacks);
  void add(G* g) noexcept;
  void copy(StillG& still) noexcept;
  void copy_range(StillG& still, std::uintptr_t lo) noexcept;

  StillG* gs_ = nullptr;
  std::size_t count_ = 0;
  std::size_t room_ = 0;
  std::byte* bytes_ = nullptr;
  std::size_t used_ = 0;
  std::size_t size_ = 0;
  std::int64_t until_ = 0;  // for copying stacks
};

}  // namespace heddle
