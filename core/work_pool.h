// WorkPool: a fixed number of goroutines that do what others submit, with a bounded queue in front.
//
//     heddle::WorkPool pool({.workers = 8, .queue = 64});
//     for (auto& file : files) {
//       if (auto ok = pool.submit([&file] { hash(file); }); !ok) break;    // parks while the queue is full
//     }
//     pool.wait();                                                       // close, and until all is done
//
//     submit --room, or an idle worker--> queued --a worker--> running --> done
//       |  '--none--> parked --a worker took one--> queued …
//       '--closed, also while parked--> kClosed
//
// I1. A waiting submitter means that the queue is full, an idle worker that it is empty: whoever changes that serves
//     the waiter in the same section. So jobs start in the order in which they were accepted, and nobody waits without
//     cause. A submitter that gives up takes nothing along: its job was not accepted.
// I2. A job is one heap object, moved by its pointer: no user's code runs under the pool's lock.
// I3. The pool's state is shared by the handle and its workers, so the handle may go first.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/go.h>

namespace heddle {
namespace detail {

/// What was submitted.
struct PoolJob {
  PoolJob* next = nullptr;
  virtual ~PoolJob() = default;
  virtual void run() = 0;
};

template <class F>
struct PoolJobOf final : PoolJob {
  F fn;
  template <class Fn>
  explicit PoolJobOf(Fn&& f) : fn(std::forward<Fn>(f)) {}
  void run() override { fn(); }
};

struct PoolCore;

}  // namespace detail

/// How a WorkPool is set up.
struct WorkPoolOptions {
  int workers = 0;              // goroutines; 0: procs()
  std::size_t queue = 64;       // jobs that wait for a worker; 0: each is handed to one that is idle
  const char* name = nullptr;   // of the workers, in dumps; a string that outlives them
  StackSize stack = StackSize::kDefault;
  /// Gets each exception that leaves a job, on the worker; the pool goes on. Without it that is a panic, as in go().
  std::function<void(std::exception_ptr)> on_error = {};
};

/// Workers for jobs. A job ends its worker's turn by returning, by an exception (WorkPoolOptions::on_error), or by
/// goexit(): then a new goroutine takes the worker's place.
///
/// Promised: jobs begin in the order in which they were accepted; at most `workers` run at a time; parked submitters are
///           served first come, first served. Not promised: that jobs end in order.
/// Memory:   what was done before submit() is seen by the job; what jobs did is seen after wait() or drain().
/// Threads:  any number of goroutines. try_submit() and close() also on foreign threads.
/// Lifetime: the destructor closes, and does not wait: what was accepted is still done, with no handle left. A pool is
///           of no use after the run() in which it was made; jobs that run() abandons are not destroyed.
class WorkPool {
 public:
  /// Starts the workers. Errors: std::bad_alloc. Threads: only on a goroutine.
  explicit WorkPool(WorkPoolOptions options = {}, const std::source_location& site = std::source_location::current());
  ~WorkPool();
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  /// Has `fn()` run by a worker; parks while the queue is full.
  ///
  /// Errors:  kClosed if the pool was closed before `fn` was accepted; then it is destroyed, uncalled. std::bad_alloc.
  template <class Fn>
    requires std::is_invocable_v<std::decay_t<Fn>&>
  Result<void> submit(Fn&& fn) {
    return submit_job(std::make_unique<detail::PoolJobOf<std::decay_t<Fn>>>(std::forward<Fn>(fn)), true);
  }

  /// The same, unless `ctx` is done before `fn` is accepted.
  ///
  /// Errors:  as submit(); and ctx.err()'s code, "work pool submit"; if it is done already nothing is tried. In both cases
  ///          `fn` is destroyed, uncalled.
  template <class Fn>
    requires std::is_invocable_v<std::decay_t<Fn>&>
  Result<void> submit(const Context& ctx, Fn&& fn) {
    return submit_job(std::make_unique<detail::PoolJobOf<std::decay_t<Fn>>>(std::forward<Fn>(fn)), true, &ctx);
  }

  /// submit() without waiting. Errors: kWouldBlock if the queue is full; kClosed; std::bad_alloc.
  template <class Fn>
    requires std::is_invocable_v<std::decay_t<Fn>&>
  Result<void> try_submit(Fn&& fn) {
    return submit_job(std::make_unique<detail::PoolJobOf<std::decay_t<Fn>>>(std::forward<Fn>(fn)), false);
  }

  /// No more jobs: parked submitters get kClosed. What was accepted is done. Again: nothing.
  void close() noexcept;

  /// Parks until no accepted job is waiting or running. The pool stays open; others may go on submitting, and then this
  /// may take long. Not in a job: it would wait for itself.
  void drain();

  /// The same, unless `ctx` is done first. Errors: ctx.err()'s code, "work pool wait", also if it is done already.
  [[nodiscard]] Result<void> drain(const Context& ctx);

  /// Closes, and parks until the workers have ended.
  void wait();

  /// Closes, and parks until the workers have ended or `ctx` is done; they go on then. Errors: as drain(ctx).
  [[nodiscard]] Result<void> wait(const Context& ctx);

  /// Jobs accepted that no worker has begun, at this moment.
  [[nodiscard]] std::size_t queued() const noexcept;

 private:
  Result<void> submit_job(std::unique_ptr<detail::PoolJob> job, bool may_park, const Context* ctx = nullptr);

  std::shared_ptr<detail::PoolCore> core_;
};

}  // namespace heddle
