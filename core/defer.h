// defer and recover, by Go's rules, in two forms.
//
//   auto cleanup = heddle::defer([&] { ... });   a destructor: runs when the scope is left, in whatever way. Costs no
//   HEDDLE_DEFER { ... };                        more than the call; cannot recover
//
//   int parse(std::string_view text) {           a function with deferred calls: they run when it ends, may be deferred
//     int result = 0;                            in a loop or under a condition, may panic, and may recover
//     heddle::with_defers([&](heddle::Defers& defer) {
//       defer([&](heddle::Recover& recover) {
//         if (auto p = recover()) result = -1;
//       });
//       result = must_parse(text);
//     });
//     return result;                             // here also after a recovered panic
//   }
//
// In Go recover() works only when the deferred function itself calls it, and not one that this one calls. Here that is
// a matter of scope: `recover` is the deferred function's own argument, and there is no other.
//
// I1. Deferred calls run last-in first-out, each once, when the function ends: by return, by a panic (any exception),
//     or by goexit(); also when nobody is going to recover the panic. Each runs after the locals of the body are gone.
// I2. A panic in a deferred call takes the place of the one under way, and the remaining calls run because of it. The
//     report of a panic that is not recovered tells those before it.
// I3. recover() returns the panic that the deferred call runs for, and ends it: once the call has returned, the
//     remaining ones run as on an ordinary return, and with_defers returns. It returns nothing if the function does not
//     panic, if it has been called before, during goexit(), and while another deferred call runs inside this one.
// I4. goexit() is not to be stopped: it takes the place of a panic; and if a panic takes the place of it and is
//     recovered, the goroutine goes on to end, as in Go.
// I5. A deferred call runs in ordinary code, on the stack of with_defers, and never in a destructor: so it may throw.
//     It may park. While it runs for a panic, std::current_exception() is that panic, and std::uncaught_exceptions() is
//     as before it.
//
// A Defers lives on the stack; what does not fit in it (some five closures of two pointers) is allocated. Off
// goroutines all this works as well, within one thread.
#pragma once

#include <cstddef>
#include <functional>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include <heddle/core/panic.h>

namespace heddle {

class Defers;

namespace detail {
struct PanicNote;
struct PanicState;

/// Runs `body(arg)`, then what was deferred. Returns if neither panicked or a panic was recovered.
void run_deferring(Defers& defers, void (*body)(void*), void* arg);

template <class Fn>
class [[nodiscard]] Deferred {
 public:
  explicit Deferred(Fn&& fn) : fn_(std::move(fn)) {}
  explicit Deferred(const Fn& fn) : fn_(fn) {}
  ~Deferred() noexcept(false) { fn_(); }
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;

 private:
  Fn fn_;
};

struct DeferHere {
  template <class Fn>
  Deferred<std::decay_t<Fn>> operator+(Fn&& fn) const {
    return Deferred<std::decay_t<Fn>>(std::forward<Fn>(fn));
  }
};
}  // namespace detail

/// Runs `fn()` when the object it returns goes out of scope.
///
/// Errors:  a panic in `fn` is an ordinary one on an ordinary return; while another panic unwinds it ends the process,
///          for that is what C++ does with a destructor that throws then. A call that may panic belongs in
///          with_defers().
/// Threads: any.
template <class Fn>
  requires std::is_invocable_v<std::decay_t<Fn>&>
[[nodiscard]] detail::Deferred<std::decay_t<Fn>> defer(Fn&& fn) {
  return detail::Deferred<std::decay_t<Fn>>(std::forward<Fn>(fn));
}

#define HEDDLE_DEFER_JOIN_(a, b) a##b
#define HEDDLE_DEFER_NAME_(n) HEDDLE_DEFER_JOIN_(heddle_deferred_, n)
/// defer() with a block: `HEDDLE_DEFER { close(fd); };`. It sees the scope's names by reference.
#define HEDDLE_DEFER const auto HEDDLE_DEFER_NAME_(__COUNTER__) = ::heddle::detail::DeferHere{} + [&]() -> void

/// What a deferred call gets to recover with.
class Recover {
 public:
  Recover(const Recover&) = delete;
  Recover& operator=(const Recover&) = delete;

  /// Stops the panic that the deferred call runs for, and returns its value; nothing if there is none to stop (I3).
  ///
  /// Threads: the goroutine that runs the deferred call, while it does.
  std::optional<PanicValue> operator()() noexcept;

 private:
  friend class Defers;
  Recover(detail::PanicState& state, detail::PanicNote* note) noexcept;
  ~Recover();

  detail::PanicState& state_;
  detail::PanicNote* const note_;  // what the call runs for; null: an ordinary end
  Recover* const outer_;           // of the deferred call that we run inside of
};

/// The deferred calls of one function; with_defers() makes it.
class Defers {
 public:
  Defers(const Defers&) = delete;
  Defers& operator=(const Defers&) = delete;

  /// Has `fn()` or `fn(recover)` run when the function ends. `fn` is copied or moved now, and with it what it captured
  /// by value, as Go evaluates a deferred call's arguments.
  ///
  /// A call that is deferred while the deferred calls run is the next to run.
  ///
  /// Errors:  std::bad_alloc, or what moving throws; then nothing is deferred.
  /// Threads: the goroutine that runs the function.
  template <class Fn>
    requires(std::is_invocable_v<std::decay_t<Fn>&, Recover&> || std::is_invocable_v<std::decay_t<Fn>&>)
  void operator()(Fn&& fn) {
    using F = std::decay_t<Fn>;
    void* const place = take(sizeof(CallOf<F, false>), alignof(CallOf<F, false>));
    if (place != nullptr) {
      push(::new (place) CallOf<F, false>(std::forward<Fn>(fn)));
    } else {
      push(new CallOf<F, true>(std::forward<Fn>(fn)));
    }
  }

 private:
  template <class Body>
    requires std::is_invocable_v<Body&, Defers&>
  friend auto with_defers(Body&& body) -> std::invoke_result_t<Body&, Defers&>;
  friend void detail::run_deferring(Defers& defers, void (*body)(void*), void* arg);

  enum class Ended { kRecovered, kMustExit };

  struct Call {
    Call* below;
    void (*run)(Call*, Recover&);  // and destroys it, whatever happens
  };
  template <class F, bool kAllocated>
  struct CallOf : Call {
    template <class V>
    explicit CallOf(V&& v) : Call{nullptr, &CallOf::run_one}, fn(std::forward<V>(v)) {}
    static void run_one(Call* call, Recover& recover) {
      struct Destroy {
        CallOf* self;
        ~Destroy() {
          if constexpr (kAllocated) {
            delete self;
          } else {
            self->~CallOf();
          }
        }
      } const destroy{static_cast<CallOf*>(call)};
      if constexpr (std::is_invocable_v<F&, Recover&>) {
        static_cast<void>(std::invoke(destroy.self->fn, recover));
      } else {
        static_cast<void>(std::invoke(destroy.self->fn));
      }
    }
    F fn;
  };

  Defers() noexcept = default;
  ~Defers() = default;

  [[nodiscard]] void* take(std::size_t size, std::size_t align) noexcept {
    const std::size_t at = (used_ + align - 1) & ~(align - 1);
    if (align > alignof(std::max_align_t) || at + size > sizeof room_) return nullptr;
    used_ = at + size;
    return room_ + at;
  }
  void push(Call* call) noexcept {
    call->below = top_;
    top_ = call;
  }
  void run_next(detail::PanicState& state, detail::PanicNote* note);
  void run_all();
  [[nodiscard]] Ended run_panicking();

  static constexpr std::size_t kRoom = 176;

  Call* top_ = nullptr;
  std::size_t used_ = 0;
  alignas(std::max_align_t) std::byte room_[kRoom];
};

/// Runs `body(defer)` as a function with deferred calls: they run when it ends, and may recover from its panic.
///
/// Returns: what `body` returns; after a recovered panic, what it had returned by then, else a value-initialized
///          object, as Go's function returns its zero values. A result that deferred calls shall set is a variable
///          outside.
/// Errors:  what `body` or a deferred call panicked with, if none of the calls recovered it.
/// Threads: any; `body` and its calls run on the caller's goroutine, and may park.
template <class Body>
  requires std::is_invocable_v<Body&, Defers&>
auto with_defers(Body&& body) -> std::invoke_result_t<Body&, Defers&> {
  using R = std::invoke_result_t<Body&, Defers&>;
  Defers defers;
  if constexpr (std::is_void_v<R>) {
    struct Job {
      std::remove_reference_t<Body>& body;
      Defers& defers;
    } job{body, defers};
    detail::run_deferring(
        defers, [](void* arg) { static_cast<Job*>(arg)->body(static_cast<Job*>(arg)->defers); }, &job);
  } else {
    static_assert(!std::is_reference_v<R> && std::is_default_constructible_v<R>,
                  "after a recovered panic there must be something to return: return void and use a variable outside");
    struct Job {
      std::remove_reference_t<Body>& body;
      Defers& defers;
      std::optional<R> result;
    } job{body, defers, std::nullopt};
    detail::run_deferring(
        defers,
        [](void* arg) {
          auto* const j = static_cast<Job*>(arg);
          j->result.emplace(j->body(j->defers));
        },
        &job);
    if (job.result.has_value()) return std::move(*job.result);
    return R{};
  }
}

}  // namespace heddle
