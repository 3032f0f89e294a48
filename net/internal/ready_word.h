// ReadyWord: one direction of one descriptor. Has it become ready since anybody looked, and who waits for that?
//
//                 begin                  publish (the commit of park)
//     kNil -------------------> kArming ----------------------------> G
//      ^ ^                      |  |                                 |  |
//      | '--- cancel, kick -----'  | notify                   notify |  | kick
//      |                           v                                 |  |
//      |<------ begin --------- kReady <-----------------------------'  |      whoever takes a G out readies it
//      |                           ^                                    |
//      |----------- notify --------'                                    |
//      '----------------------------------------------------------------'
//
//     every state --close--> kClosed (stays; begin says so) --reset, by the slot's next tenant--> kNil
//
// The word latches edges: a readiness that comes while nobody waits is kept in kReady and ends the next wait at once. So
// a caller tries its system call first, waits on EAGAIN, and tries again; a false kReady costs one more try.
//
// I1. No readiness is lost. notify is one RMW that finds kNil, kArming or a G. In the first two cases it leaves kReady,
//     which begin or publish (both compare-and-swap from another value) must see; in the third it takes the G.
// I2. A G is readied once: only the RMW that replaces it returns it.
// I3. A changed deadline is not missed. The waiter loads the deadline after begin; who changes it stores first and then
//     kicks. Both are RMWs of this word, so one comes first: either begin acquires what the kick released, and the
//     waiter loads the new deadline, or the kick finds kArming or G and leaves kNil: publish fails, or the G runs, and
//     the waiter begins again. For this a kick writes the word even where it leaves its value. A kick makes no readiness:
//     a wait whose time has come says kTimeout, not "try again".
// I4. After publish succeeded the waiter's frame is not touched by it: anybody may have readied the G.
//
// Not taken: a separate "closing" flag that waiters re-check (needs a store-load fence on each wait; here it is a state),
// and kicking by a plain notify (a deadline set before each read would cost each read a failing recv, and a caller that
// waits again with a new deadline would never time out).
//
// The atomic is a parameter, so that tests/net/ready_word_test.cc can permute interleavings.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/check.h>
#include <heddle/core/clock.h>

namespace heddle {
struct G;
}

namespace heddle::net {

enum class WaitBegin : std::uint8_t {
  kReady,   // consumed a readiness: try again, do not wait
  kArmed,   // the word is kArming: the caller owes a publish or a cancel
  kClosed,  // closed: give up
  kBusy,    // somebody waits already: the caller's contract is broken
};

template <template <class> class Atomic = std::atomic>
class BasicReadyWord {
 public:
  /// First step of a wait. Threads: the one reader (or writer).
  [[nodiscard]] WaitBegin begin() noexcept {
    std::uintptr_t old = kNil;
    // acq_rel: acquires what notify() and kick() released (hints, a deadline); releases nothing but must stay in the
    // release sequence that I3 relies on.
    if (word_.compare_exchange_strong(old, kArming, std::memory_order_acq_rel, std::memory_order_acquire)) {
      return WaitBegin::kArmed;
    }
    if (old == kClosed) return WaitBegin::kClosed;
    if (old != kReady) return WaitBegin::kBusy;
    // acquire: pairs with the release of the notify() that left kReady. Fails only against close().
    if (word_.compare_exchange_strong(old, kNil, std::memory_order_acq_rel, std::memory_order_acquire)) {
      return WaitBegin::kReady;
    }
    return WaitBegin::kClosed;
  }

  /// Last step of a wait, once the G is off its stack. False: something came, the G goes on at once.
  [[nodiscard]] bool publish(G* g) noexcept {
    std::uintptr_t old = kArming;
    // release: the G's frame and saved registers, to whoever readies it. Relaxed on failure: begin() looks again.
    return word_.compare_exchange_strong(old, reinterpret_cast<std::uintptr_t>(g), std::memory_order_release,
                                         std::memory_order_relaxed);
  }

  /// Leaves a wait before publish. False: something came meanwhile; begin() will say what.
  [[nodiscard]] bool cancel() noexcept {
    std::uintptr_t old = kArming;
    return word_.compare_exchange_strong(old, kNil, std::memory_order_acq_rel, std::memory_order_relaxed);
  }

  /// The descriptor has become ready. Returns the G that the caller must ready, or nullptr. Threads: any.
  [[nodiscard]] G* notify() noexcept { return replace(true); }

  /// What a waiter looked at has changed: makes it look again. Returns the G to ready, or nullptr. Threads: any.
  [[nodiscard]] G* kick() noexcept { return replace(false); }

  /// Ends this and all later waits. Returns the G to ready, or nullptr. Threads: any; idempotent.
  [[nodiscard]] G* close() noexcept {
    // acq_rel: acquires the G's frame; releases the closing to begin().
    return as_g(word_.exchange(kClosed, std::memory_order_acq_rel));
  }

  /// Makes the word fit for a new descriptor. Threads: the owner of the slot, alone.
  void reset() noexcept { word_.store(kNil, std::memory_order_relaxed); }  // published with the slot itself

  /// True if a readiness is latched. A hint: it may change at once.
  [[nodiscard]] bool looks_ready() const noexcept { return word_.load(std::memory_order_relaxed) == kReady; }

 private:
  static constexpr std::uintptr_t kNil = 0, kReady = 1, kArming = 2, kClosed = 3;  // no G lies in the first page

  static G* as_g(std::uintptr_t word) noexcept { return word > kClosed ? reinterpret_cast<G*>(word) : nullptr; }

  // kReady and kClosed stay; all else becomes kReady or kNil.
  G* replace(bool make_ready) noexcept {
    std::uintptr_t old = word_.load(std::memory_order_relaxed);  // a guess; the RMW below decides
    for (;;) {
      const std::uintptr_t next = old == kReady || old == kClosed ? old : make_ready ? kReady : kNil;
      // acq_rel: acquires the G's frame from publish(); releases the caller's hints and deadline to begin() (I3).
      if (word_.compare_exchange_weak(old, next, std::memory_order_acq_rel, std::memory_order_relaxed)) return as_g(old);
    }
  }

  Atomic<std::uintptr_t> word_{kNil};
};

using ReadyWord = BasicReadyWord<>;

enum class WaitStatus : std::uint8_t {
  kReady,    // try again
  kTimeout,  // the deadline has passed
  kClosed,   // close() won
  kFailed,   // the poller cannot watch it; Env::error() says why
};

/// The wait itself: parks until `word` is ready, closed, or env's deadline has passed. `Env` supplies
///   deadline(), now()        nanoseconds; deadline() is asked again after every kick
///   bool arm()               makes the poller report this direction from now on; false if it cannot
///   void park(word, when)    park with publish() as commit, kicked at `when`
///   void second_waiter()     does not return
template <class Word, class Env>
WaitStatus wait_ready(Word& word, Env& env) {
  for (;;) {
    switch (word.begin()) {
      case WaitBegin::kReady:
        return WaitStatus::kReady;
      case WaitBegin::kClosed:
        return WaitStatus::kClosed;
      case WaitBegin::kBusy:
        env.second_waiter();
        return WaitStatus::kFailed;
      case WaitBegin::kArmed:
        break;
    }
    const std::int64_t deadline = env.deadline();  // after begin: I3
    const bool late = deadline != kNever && env.now() >= deadline;
    if (late || !env.arm()) {
      if (word.cancel()) return late ? WaitStatus::kTimeout : WaitStatus::kFailed;
      continue;  // something came first: see what
    }
    env.park(word, deadline);
  }
}

}  // namespace heddle::net
