// Signals as values: notify() has them sent to a channel, as Go's os/signal does; notify_context() has them end a context.
//
//     auto hup = make_chan<int>(1);
//     notify(hup, {SIGHUP, SIGUSR1});
//     for (int sig : hup) reload(sig);
//
//     auto stop = *notify_context({}, {SIGTERM, SIGINT});
//     serve(stop.ctx());                        // done at the first of them
//
//     the kernel --handler: a bit, a futex--> one thread of the runtime's --post()--> a goroutine --try_send--> channels
//
// Any number of goroutines wait, and there is one thread for all of them, from the first call to the end of run(). It lets
// the signals through that are wanted, also if all other threads block them.
//
// I1. The handler does two atomic operations and a futex(2): nothing that a signal may not interrupt.
// I2. The sender never waits: a channel without room, or without a receiver if it has no buffer, misses the signal. Of
//     several equal signals that come close together one may be left, as with the kernel's own. So: capacity 1 for a signal
//     that says "look", more for several that must not hide each other.
// I3. A signal has our handler while anybody wants it; with the last stop it has what it had before.
// I4. All of it belongs to one run(): its end stops what was not stopped, before run() returns. Signals that come in the
//     last moment of a run() may be lost.
//
// This is core's, not net's, though a signalfd(2) would serve: it works with every poller, it is not confused by threads that do
// not block the signal, and a process that waits for a signal is not taken for a deadlock (it has a thread of its own).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>

#include <heddle/core/chan.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>

namespace heddle {

/// Sends the number of each of `signals` that comes to `ch`, until stop_notify(ch). A second call adds to the first one's;
/// several channels that want the same signal all get it.
///
/// SIGQUIT no longer prints the goroutines as long as it is wanted here.
/// Errors:   kInvalid for the nil channel, for no signal at all, and for those that cannot be had: SIGKILL and SIGSTOP,
///           SIGSEGV, SIGBUS, SIGFPE and SIGILL, which mean the thread they come to, and SIGURG, which is the runtime's.
///           kNoResources: no thread to be had.
/// Lifetime: the channel is kept until then. Who closes it earlier makes the next signal a panic.
/// Threads:  goroutines.
[[nodiscard]] Result<void> notify(const Chan<int>& ch, std::span<const int> signals);
[[nodiscard]] inline Result<void> notify(const Chan<int>& ch, std::initializer_list<int> signals) {
  return notify(ch, std::span<const int>(signals.begin(), signals.size()));
}

/// Ends notify(): when it returns nothing more comes to `ch`. Does nothing if it gets none. A signal that was sent and not
/// delivered yet meets what it had before, if this was the last that wanted it. Threads: goroutines.
void stop_notify(const Chan<int>& ch);

/// A context that a signal ends. Movable; the destructor stops.
class SignalContext {
 public:
  SignalContext(ContextAndCancel made, std::uint64_t id) noexcept
      : ctx_(std::move(made.ctx)), cancel_(std::move(made.cancel)), id_(id) {}
  SignalContext(SignalContext&& other) noexcept
      : ctx_(std::move(other.ctx_)), cancel_(std::move(other.cancel_)), id_(std::exchange(other.id_, 0)) {}
  SignalContext& operator=(SignalContext&&) = delete;
  ~SignalContext() { stop(); }

  /// Done for kCanceled when one of the signals has come, when the parent is, or after stop(). Its cause is then
  /// "signal" with the signal's number in Error::sys, the parent's cause, or kCanceled.
  [[nodiscard]] const Context& ctx() const noexcept { return ctx_; }

  /// Cancels the context and lets go of the signals: a second SIGTERM then ends the process, if it did before. Idempotent.
  /// Threads: goroutines; after its run() it does nothing.
  void stop();

 private:
  Context ctx_;
  CancelFunc cancel_;
  std::uint64_t id_;  // 0: stopped
};

/// A child of `parent` that is done when one of `signals` comes. Errors, threads: as notify().
[[nodiscard]] Result<SignalContext> notify_context(const Context& parent, std::span<const int> signals);
[[nodiscard]] inline Result<SignalContext> notify_context(const Context& parent, std::initializer_list<int> signals) {
  return notify_context(parent, std::span<const int>(signals.begin(), signals.size()));
}

}  // namespace heddle
