// Group: goroutines that work on parts of one task. The first error among them is the task's, and stops the others.
// golang.org/x/sync/errgroup.
//
//     heddle::Group group(ctx);
//     for (const Url& url : urls) {
//       group.go([&url, ctx = group.context()]() -> Result<void> { return fetch(ctx, url); });
//     }
//     if (auto ok = group.wait(); !ok) return ok;
//
// I1. There is one first failure: whoever sets `failed_` stores its error, and cancels the context with it. What it
//     stored is read by wait() alone, after the counter that every member leaves last.
// I2. A member holds its unit of the limit until its function is destroyed, and leaves the counter after that: so what
//     the function owned is gone when wait() returns, and never more functions exist than the limit says.
// I3. An exception that leaves a member ends the group as an error does, and wait() throws it. If nobody waits, whoever
//     of handle and members leaves last makes it a panic: errors do not get lost.
// I4. Handle and members share the state, so the handle may go first.
//
// An error that is not the first is dropped, as in Go: it is as a rule what the cancelled context made of the others.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/go.h>
#include <heddle/core/semaphore.h>
#include <heddle/core/task.h>
#include <heddle/core/wait_group.h>

namespace heddle {
namespace detail {

/// What a Group and its members share.
class GroupCore {
 public:
  explicit GroupCore(const Context& parent);
  GroupCore(const GroupCore&) = delete;
  GroupCore& operator=(const GroupCore&) = delete;
  ~GroupCore();

  // --- a member's side ---
  /// Waits for a unit of the limit, or says if there is one, and counts a member.
  void enter();
  [[nodiscard]] Result<void> enter(const Context& ctx);
  [[nodiscard]] bool try_enter();
  void leave() noexcept;
  void fail(Error error) noexcept;
  void fail(std::exception_ptr exception) noexcept;

  // --- the handle's side ---
  void set_limit(std::int64_t n);
  Result<void> wait();
  Result<void> wait(const Context& ctx);
  void abandon() noexcept { cancel_(); }
  [[nodiscard]] const Context& context() const noexcept { return ctx_; }

 private:
  explicit GroupCore(ContextAndCancel made) noexcept : ctx_(std::move(made.ctx)), cancel_(std::move(made.cancel)) {}
  [[nodiscard]] bool first_failure() noexcept;
  void count() noexcept;

  // Constant.
  const Context ctx_;
  const CancelFunc cancel_;
  // Changed while there is no member.
  std::optional<Semaphore> limit_;  // none: no limit

  WaitGroup members_;
  std::atomic<std::int64_t> under_way_{0};  // for set_limit()'s check only
  std::atomic<bool> failed_{false};         // I1
  std::atomic<bool> taken_{false};          // by a wait(): exception_ has reached somebody
  // Of the one that set failed_; read when all members have left.
  std::optional<Error> error_;
  std::exception_ptr exception_;
};

/// A member's place in its group, from enter() on.
struct GroupPlace {
  std::shared_ptr<GroupCore> core;  // null: moved from
  explicit GroupPlace(std::shared_ptr<GroupCore> c) noexcept : core(std::move(c)) {}
  GroupPlace(GroupPlace&&) noexcept = default;
  ~GroupPlace() {
    if (core != nullptr) core->leave();
  }
};

/// The goroutine of a member. In this order the function dies before its place is given up: keeps I2.
template <class F>
struct GroupMember {
  GroupPlace place;
  F fn;
  void operator()() {
    try {
      if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
        fn();
      } else if (Result<void> ended = fn(); !ended) {
        place.core->fail(ended.error());
      }
    } catch (...) {
      std::exception_ptr exception;
      if (!keep_exception(exception)) throw;  // goexit(): no failure
      place.core->fail(std::move(exception));
    }
  }
};

template <class F>
concept GroupFunction = std::is_invocable_r_v<Result<void>, F&> || std::is_void_v<std::invoke_result_t<F&>>;

}  // namespace detail

/// Goroutines for the parts of one task, with one context and one result.
///
/// A member's function returns nothing, or Result<void>. The first that returns an error, or lets an exception out,
/// cancels context(), with the error as its cause (kCanceled "Group" for an exception). One that calls goexit() has not failed.
/// Memory:   what the members did is seen after wait().
/// Threads:  go() and try_go() by any number of goroutines, but the first of a round not while another is in wait(), as
///           WaitGroup::add(); wait() by any number.
/// Lifetime: the destructor cancels context(), and does not wait. Then errors of members are dropped; an exception is a
///           panic, which ends the process. A member that run() abandons never frees its part.
/// Source:   pkg.go.dev/golang.org/x/sync/errgroup.
class Group {
 public:
  /// A group without members, whose context is a child of `parent`. Errors: std::bad_alloc.
  explicit Group(const Context& parent = {}) : core_(std::make_shared<detail::GroupCore>(parent)) {}
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  ~Group() { core_->abandon(); }

  /// Done at the first failure, when wait() returns, when the parent is done, and when the group is destroyed.
  [[nodiscard]] const Context& context() const noexcept { return core_->context(); }

  /// Runs `fn()` on a new goroutine; parks first while there are as many members as the limit allows.
  ///
  /// It parks also when context() is done: the members are to end soon. With a limit of 0 it dies with a message.
  /// Errors:  as heddle::go; then there is no new member.
  template <class Fn>
    requires detail::GroupFunction<std::decay_t<Fn>>
  void go(Fn&& fn, const std::source_location& site = std::source_location::current()) {
    core_->enter();
    start(std::forward<Fn>(fn), site);
  }

  /// The same, unless `ctx` is done while it parks; given context(), a task that has failed starts no more members.
  ///
  /// Errors:  as heddle::go; and ctx.err()'s code, "semacquire", also if it is done already.
  template <class Fn>
    requires detail::GroupFunction<std::decay_t<Fn>>
  [[nodiscard]] Result<void> go(const Context& ctx, Fn&& fn,
                                const std::source_location& site = std::source_location::current()) {
    if (Result<void> entered = core_->enter(ctx); !entered) return entered;
    start(std::forward<Fn>(fn), site);
    return {};
  }

  /// The same without parking. Returns: false if the limit is reached; then `fn` has not been moved from.
  template <class Fn>
    requires detail::GroupFunction<std::decay_t<Fn>>
  [[nodiscard]] bool try_go(Fn&& fn, const std::source_location& site = std::source_location::current()) {
    if (!core_->try_enter()) return false;
    start(std::forward<Fn>(fn), site);
    return true;
  }

  /// At most `n` members at a time; negative: as many as come, which is the default.
  ///
  /// Dies with a message while the group has members.
  void set_limit(std::int64_t n) { core_->set_limit(n); }

  /// Parks until all members have ended, then cancels context().
  ///
  /// Errors:  the first failure: returned if it was an error, thrown if it was an exception. A later call says the
  ///          same; a group that has failed stays so.
  Result<void> wait() { return core_->wait(); }

  /// The same, unless `ctx` is done first: then nothing is cancelled, and the members go on. Not for context(), which is
  /// done when a member fails, while others may still be at it.
  ///
  /// Errors:  as wait(); and ctx.err()'s code, "sync.WaitGroup.Wait", also if it is done already.
  Result<void> wait(const Context& ctx) { return core_->wait(ctx); }

 private:
  template <class Fn>
  void start(Fn&& fn, const std::source_location& site) {
    detail::GroupPlace place(core_);
    heddle::go(detail::GroupMember<std::decay_t<Fn>>{std::move(place), std::forward<Fn>(fn)}, site);
  }

  std::shared_ptr<detail::GroupCore> core_;
};

}  // namespace heddle
