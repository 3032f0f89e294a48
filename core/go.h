// go: starts a goroutine; go_n: many. Also the verbs a goroutine uses on itself: gosched, goexit, sleep.
//
// A goroutine costs one pooled stack slot and no malloc: its closure is moved onto its own stack (boxed if it is larger
// than a page would bear). It runs on any M, moves between them when it parks, and ends when its closure returns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>

#include <heddle/core/clock.h>
#include <heddle/core/park.h>

namespace heddle {

/// Address space for a goroutine's stack. Only touched pages cost memory; there is no growth beyond the class.
enum class StackSize : std::uint8_t { kSmall, kDefault, kLarge };  // 64 KiB, 256 KiB, 1 MiB

/// Per-goroutine options of go().
struct GoOptions {
  const char* name = nullptr;  // shown in dumps; a string that outlives the goroutine
  StackSize stack = StackSize::kDefault;
};

namespace detail {
inline constexpr std::size_t kMaxInlineClosure = 2048;

/// A G for a closure of `size` bytes; `place` receives where to build it. Throws std::bad_alloc if no stack can be had.
G* new_g(const GoOptions& options, std::size_t size, const std::source_location& site, void** place);
/// Makes the G runnable with `entry(place)`; entry destroys the closure. `boxed`: its size, if it lies in the heap and only
/// its address at `place`.
void start_g(G* g, void (*entry)(void*), std::size_t boxed = 0) noexcept;
/// Gives an unstarted G back.
void abandon_g(G* g) noexcept;

/// Unstarted Gs for `n` closures of one size, in order; those that are not started go back at the end.
class NewGs {
 public:
  /// Throws std::bad_alloc if there are not as many stacks to be had.
  NewGs(const GoOptions& options, std::size_t n, std::size_t size, const std::source_location& site);
  ~NewGs();
  NewGs(const NewGs&) = delete;
  NewGs& operator=(const NewGs&) = delete;

  [[nodiscard]] G* first() const noexcept { return first_; }
  /// The one behind `g`; nullptr if it is the last.
  [[nodiscard]] static G* next(const G* g) noexcept;
  /// Where to build the closure of `g`.
  [[nodiscard]] static void* place(const G* g) noexcept;
  /// Makes all of them runnable, together.
  void start(void (*entry)(void*)) noexcept;

 private:
  G* first_ = nullptr;
};

/// One of go_n()'s goroutines: its own copy of the function, boxed if it is large, and its number.
template <class F>
struct Nth {
  static constexpr bool kBoxed = sizeof(F) > kMaxInlineClosure || alignof(F) > 16;
  std::conditional_t<kBoxed, std::unique_ptr<F>, F> fn;
  std::size_t i;

  template <class From>
  Nth(From&& from, std::size_t n) : fn(make(std::forward<From>(from))), i(n) {}
  template <class From>
  static decltype(fn) make(From&& from) {
    if constexpr (kBoxed) {
      return std::make_unique<F>(std::forward<From>(from));
    } else {
      return F(std::forward<From>(from));
    }
  }
  void operator()() {
    if constexpr (kBoxed) {
      (*fn)(i);
    } else {
      fn(i);
    }
  }
};
/// Leaves no copy of `place` in the caller's frame: it would look as if the caller could reach into the goroutine's (leaks.h).
inline void forget(void*& place) noexcept { const_cast<void* volatile&>(place) = nullptr; }

template <class F>
void closure_entry(void* place) {
  struct Destroy {
    F* f;
    ~Destroy() { f->~F(); }
  } destroy{static_cast<F*>(place)};
  (*destroy.f)();
}

/// A closure in the heap. One word lies behind it, because malloc's own pointers to the block behind this one point
/// into the last word of this: it would look as if somebody could reach into the closure (leaks.h).
template <class F>
struct Box {
  template <class From>
  explicit Box(From&& from) : fn(std::forward<From>(from)) {}
  F fn;
  void* behind = nullptr;
};

template <class F>
void boxed_entry(void* place) {
  std::unique_ptr<Box<F>> box(*static_cast<Box<F>**>(place));
  box->fn();
}
}  // namespace detail

/// Starts `fn()` on a new goroutine and returns at once. The closure is moved (or copied) into the goroutine.
///
/// Where some 256 wait on this P already the caller goes behind them, and so starts no more than can run: their stacks then
/// serve for those that follow.
///
/// Errors:  std::bad_alloc if no stack can be had; what moving `fn` throws. An exception that leaves `fn` is a panic:
///          when all destructors and deferred calls have run, it prints the goroutine and ends the process, status 2.
/// Threads: goroutines, the scheduler's side, and foreign threads that are done before the main goroutine
///          ends. Order: the new goroutine runs next on this P unless another M takes it.
template <class Fn>
  requires std::is_invocable_v<std::decay_t<Fn>&>
void go(const GoOptions& options, Fn&& fn, const std::source_location& site = std::source_location::current()) {
  using F = std::decay_t<Fn>;
  void* place = nullptr;
  if constexpr (sizeof(F) <= detail::kMaxInlineClosure && alignof(F) <= 16) {
    G* g = detail::new_g(options, sizeof(F), site, &place);
    if constexpr (std::is_nothrow_constructible_v<F, Fn>) {
      ::new (place) F(std::forward<Fn>(fn));
    } else {
      try {
        ::new (place) F(std::forward<Fn>(fn));
      } catch (...) {
        detail::abandon_g(g);
        throw;
      }
    }
    detail::forget(place);
    detail::start_g(g, &detail::closure_entry<F>);
  } else {
    auto box = std::make_unique<detail::Box<F>>(std::forward<Fn>(fn));
    G* g = detail::new_g(options, sizeof(box.get()), site, &place);
    *static_cast<detail::Box<F>**>(place) = box.release();
    detail::forget(place);
    detail::start_g(g, &detail::boxed_entry<F>, sizeof(F));
  }
}

template <class Fn>
  requires std::is_invocable_v<std::decay_t<Fn>&>
void go(Fn&& fn, const std::source_location& site = std::source_location::current()) {
  go(GoOptions{}, std::forward<Fn>(fn), site);
}

/// Starts `n` goroutines that run `fn(0)` to `fn(n - 1)`, and returns at once. All of them or none.
///
/// Each goroutine has its own copy of `fn`; an rvalue is copied n - 1 times and then moved. The copies are made by the
/// caller, one after the other, before any of them runs. Then all become runnable together: as many as fit on this P's
/// queue, the others on the global one; other Ps that are idle come for them.
/// What it saves is to make each runnable by itself, and to wake Ps again and again. Not promised: that it is faster than a
/// loop of go(), which on one P it need not be (bench_core: go_1000, go_n_1000).
///
/// Errors:  std::bad_alloc if there are not enough stacks, and what copying `fn` throws: then none has been started.
/// Threads: as go(). Order: none is promised.
template <class Fn>
  requires std::is_invocable_v<std::decay_t<Fn>&, std::size_t> && std::is_copy_constructible_v<std::decay_t<Fn>>
void go_n(const GoOptions& options, std::size_t n, Fn&& fn,
          const std::source_location& site = std::source_location::current()) {
  using Body = detail::Nth<std::decay_t<Fn>>;
  if (n == 0) return;
  detail::NewGs gs(options, n, sizeof(Body), site);
  std::size_t built = 0;
  try {
    for (G* g = gs.first(); built < n; g = gs.next(g), ++built) {
      if (built + 1 == n) {
        ::new (gs.place(g)) Body(std::forward<Fn>(fn), built);
      } else {
        ::new (gs.place(g)) Body(std::as_const(fn), built);
      }
    }
  } catch (...) {
    for (G* g = gs.first(); built > 0; g = gs.next(g), --built) std::launder(static_cast<Body*>(gs.place(g)))->~Body();
    throw;
  }
  gs.start(&detail::closure_entry<Body>);
}

template <class Fn>
  requires std::is_invocable_v<std::decay_t<Fn>&, std::size_t> && std::is_copy_constructible_v<std::decay_t<Fn>>
void go_n(std::size_t n, Fn&& fn, const std::source_location& site = std::source_location::current()) {
  go_n(GoOptions{}, n, std::forward<Fn>(fn), site);
}

/// Lets others run: the goroutine goes to the tail of its P's queue.
void gosched();

/// Ends the current goroutine after running the destructors and deferred calls (defer.h) on its stack; recover() does
/// not stop it. On the main goroutine run() then waits for the others as long as any is left.
///
/// It unwinds by an exception of a private type: a `catch (...)` on the way must rethrow.
[[noreturn]] void goexit();

/// Parks the goroutine for at least `d`; returns at once for d <= 0.
void sleep(Duration d);

/// Parks the goroutine until `t` has come; returns at once if it has. kNoDeadline: for ever.
void sleep_until(TimePoint t);

/// Whether the calling goroutine carries nothing of what ran on it: no values, no labels, no thread that it is locked to,
/// no panic under way. For who does one piece of work after another on a goroutine where each is to find it as
/// if it were new, and starts another goroutine if this says no; which it may do where there was something once.
[[nodiscard]] bool goroutine_is_as_new() noexcept;

/// The id of the calling goroutine (1 is the main one), or 0 outside any. For logs; never reused within a run.
[[nodiscard]] std::uint64_t goroutine_id() noexcept;

}  // namespace heddle
