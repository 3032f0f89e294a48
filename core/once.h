// Once: does something one time only, whoever comes first; the others wait until it is done. once_value: the same for a
// value that is computed when it is first asked for, and once_func where there is none.
//
// I1. `done_` is set under mutex_, after the function has ended, in whatever way; so whoever finds it set sees all that
//     the function did, and who comes meanwhile waits for mutex_.
// I2. A function that throws has had its one time, as a panicking one in Go: to run it again might do half of it twice.
//     The exception goes to the goroutine that ran it. Once lets the others pass as if all were well; a once_value,
//     which has nothing to give them, throws them the same exception, each time.
// I3. goexit() is an exception of a private type (go.h), so I2 holds for it, too: each caller of a once_value whose
//     function called goexit() ends.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include <heddle/core/mutex.h>

namespace heddle {

/// One action, done one time.
///
/// Threads:  goroutines. A foreign thread may call as long as the function is done or nobody is at it; else it dies
///           with a message.
/// Lifetime: may be destroyed when all calls on it have returned.
/// Source:   pkg.go.dev/sync#Once.
class Once {
 public:
  constexpr Once() noexcept = default;
  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;

  /// Calls `fn()` if this is the first call of all on this object, whatever their functions; else waits until that has
  /// ended.
  ///
  /// When it returns the first call's function is over, and what it did is seen. A function that calls do_once() on the
  /// same object waits for itself.
  ///
  /// Errors:  what `fn` throws, to its own caller only; it counts as done, and the others return.
  template <class Fn>
    requires std::is_invocable_v<Fn&>
  void do_once(Fn&& fn) {
    if (!done()) do_slow(fn);
  }

  /// True if the function has ended. Never parks.
  [[nodiscard]] bool done() const noexcept {
    // acquire: sees what the function did; pairs with the release in do_slow().
    return done_.load(std::memory_order_acquire);
  }

 private:
  template <class Fn>
  void do_slow(Fn& fn) {
    struct Locked {
      Mutex& mutex;
      explicit Locked(Mutex& m) : mutex(m) { mutex.lock(); }
      ~Locked() { mutex.unlock(); }
    } const locked(mutex_);
    if (done_.load(std::memory_order_relaxed)) return;  // relaxed: the mutex orders it
    struct MarksDone {
      std::atomic<bool>& flag;
      // release: publishes what the function did; pairs with the acquire in done(). Keeps I2.
      ~MarksDone() { flag.store(true, std::memory_order_release); }
    } const set_done{done_};
    fn();
  }

  std::atomic<bool> done_{false};
  Mutex mutex_;
};

/// What once_value() and once_func() return: a callable that calls `Fn` the first time and gives its result every time.
///
/// Neither copied nor moved, because all callers must share the one: capture it by reference, or hold it by a smart
/// pointer. The function is destroyed when it has been called. Threads and lifetime: as Once; the reference that a call
/// returns lives as long as this object.
template <class Fn>
class OnceValue {
 public:
  using Value = std::invoke_result_t<Fn&>;
  static_assert(!std::is_reference_v<Value>, "a once_value owns its value: return a pointer instead");

  explicit OnceValue(Fn fn) noexcept(std::is_nothrow_move_constructible_v<Fn>) : fn_(std::move(fn)) {}
  OnceValue(const OnceValue&) = delete;
  OnceValue& operator=(const OnceValue&) = delete;
  ~OnceValue() {
    if constexpr (!std::is_void_v<Value>) {
      if (has_value_) std::destroy_at(&slot_.value);
    }
  }

  /// The value (nothing for a function that returns void); computes it if nobody has.
  ///
  /// Errors:  what the function threw, to every caller.
  std::add_lvalue_reference_t<const Value> operator()() {
    once_.do_once([this] { compute(); });
    if (error_ != nullptr) std::rethrow_exception(error_);
    if constexpr (!std::is_void_v<Value>) return slot_.value;
  }

 private:
  struct Nothing {};

  void compute() noexcept {
    try {
      if constexpr (std::is_void_v<Value>) {
        (*fn_)();
      } else {
        ::new (static_cast<void*>(&slot_.value)) Value((*fn_)());  // in place: it need not be movable
        has_value_ = true;
      }
    } catch (...) {
      error_ = std::current_exception();
    }
    fn_.reset();
  }

  union Slot {
    Slot() noexcept : nothing() {}
    ~Slot() {}
    Nothing nothing;
    std::conditional_t<std::is_void_v<Value>, Nothing, std::remove_cv_t<Value>> value;
  };

  Once once_;
  std::optional<Fn> fn_;
  Slot slot_;
  bool has_value_ = false;
  std::exception_ptr error_;
};

/// A callable that calls `fn()` at its first call and returns the result, by const reference, at every call.
///
///     auto config = heddle::once_value([] { return load_config(); });
///     go([&] { use(config()); });
///
/// Source:  pkg.go.dev/sync#OnceValue. A function with two results returns a struct or a std::pair (Go's OnceValues).
template <class Fn>
  requires std::is_invocable_v<std::decay_t<Fn>&>
[[nodiscard]] OnceValue<std::decay_t<Fn>> once_value(Fn&& fn) {
  return OnceValue<std::decay_t<Fn>>(std::forward<Fn>(fn));
}

/// The same for a function without result: it is called once, and what it throws reaches every caller.
///
/// Source:  pkg.go.dev/sync#OnceFunc.
template <class Fn>
  requires std::is_void_v<std::invoke_result_t<std::decay_t<Fn>&>>
[[nodiscard]] OnceValue<std::decay_t<Fn>> once_func(Fn&& fn) {
  return OnceValue<std::decay_t<Fn>>(std::forward<Fn>(fn));
}

}  // namespace heddle
