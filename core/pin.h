// pin: keeps the goroutine where it is for a few instructions, so that they may use what belongs to its P.
//
//     static Cache caches[heddle::kMostPs];                // one per P: no lock, no atomics, no shared cache line
//     {
//       const heddle::Pin pin;
//       caches[pin.p()].push(item);                        // nobody else is in caches[pin.p()] now
//     }
//
// I1. While a goroutine is pinned it keeps its M and its P: it is neither preempted nor moved, and its P is not taken
//     when the thread sleeps in the kernel. So at most one goroutine is pinned to a P, and pins on one P follow each
//     other in time: what one wrote the next one sees, on whatever thread.
// I2. It therefore may not wait: all else on the P waits for it. A park, a yield or a blocking() under a pin dies with
//     a message.
// I3. Nor may it take a lock that a preempted goroutine can hold: malloc and free, stdio, a std::mutex. The holder may
//     need this very P to go on, and no check can see that. Allocate before, free after.
#pragma once

namespace heddle {

/// The numbers of Ps are below this: for arrays with an entry per P.
inline constexpr int kMostPs = 256;

/// Pins the current goroutine to its P for a scope. May be nested. Costs some 5 ns (bench_core, pin).
///
/// A slice that ends meanwhile ends after the pin: keep it below some microseconds.
/// Threads:  only on a goroutine, and not inside blocking(), where there is no P; elsewhere it dies with a message.
///           Where the goroutine had lost its P to a blocked system call the constructor yields until it has one.
/// Lifetime: a local of the goroutine; pins end in the opposite order.
class [[nodiscard]] Pin {
 public:
  Pin();
  ~Pin();
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;

  /// The P, in [0, kMostPs).
  [[nodiscard]] int p() const noexcept { return p_; }

 private:
  // What was to run when the goroutine parks (park.h).
  void (*on_park_)(void*);
  void* on_park_arg_;
  int p_;
};

/// Pin as an expression: `const auto pinned = heddle::pin();`.
inline Pin pin() { return Pin(); }

/// The P that the current goroutine is pinned to. Dies with a message if it is not pinned.
[[nodiscard]] int pinned_p() noexcept;

}  // namespace heddle
