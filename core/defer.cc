#include <heddle/core/defer.h>

#include <heddle/core/internal/panics.h>
#include <heddle/core/internal/sched.h>

namespace heddle {

using detail::PanicNote;
using detail::PanicState;

namespace detail {

void run_deferring(Defers& defers, void (*body)(void*), void* arg) {
  bool must_exit = false;
  for (;;) {
    try {
      if (must_exit) throw GoExit{};  // keeps I4
      if (body != nullptr) std::exchange(body, nullptr)(arg);
      defers.run_all();
      return;
    } catch (const Passing&) {  // matches nothing (internal/panics.h)
    } catch (...) {
      must_exit = defers.run_panicking() == Defers::Ended::kMustExit;
    }
    // Out of the handler: the panic is over, its exception destroyed. What is left runs as on a return.
  }
}

}  // namespace detail

Recover::Recover(PanicState& state, PanicNote* note) noexcept : state_(state), note_(note), outer_(state.call) {
  state_.call = this;
}

Recover::~Recover() { state_.call = outer_; }

std::optional<PanicValue> Recover::operator()() noexcept {
  if (note_ == nullptr || state_.call != this) return std::nullopt;
  if (note_->goexit || note_->recovered || note_->exception == nullptr) return std::nullopt;
  note_->recovered = true;
  return PanicValue(note_->exception);
}

void Defers::run_next(PanicState& state, PanicNote* note) {
  Call* const call = top_;
  top_ = call->below;
  Recover recover(state, note);
  call->run(call, recover);
}

void Defers::run_all() {
  if (top_ == nullptr) return;
  PanicState& state = detail::panic_state();
  while (top_ != nullptr) run_next(state, nullptr);
}

// In the handler of a panic, which stays in it while the calls run (I5). A newer one is handled in a handler inside
// this, so that the older is there to be told of until the newer has taken its place.
Defers::Ended Defers::run_panicking() {
  PanicState& state = detail::panic_state();
  PanicNote* const note = detail::claim_note(state);
  const detail::PanicInProgress in_progress;
  while (top_ != nullptr) {
    try {
      run_next(state, note);
    } catch (const detail::Passing&) {  // matches nothing
    } catch (...) {
      detail::replace_note(state, note);
      return run_panicking();
    }
    if (note->recovered) {
      const bool must_exit = note->over_goexit;
      detail::drop_note(state, note);
      return must_exit ? Ended::kMustExit : Ended::kRecovered;
    }
  }
  detail::throw_note_on(state, note);
  throw;
}

}  // namespace heddle
