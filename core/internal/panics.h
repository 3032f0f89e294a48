// What is known of the panics under way on one goroutine: where each was thrown, and what it took the place of.
//
// A panic unwinds, so by the time that it is certain that nobody recovers it, the stack that the report has to show is
// gone. But the C++ runtime works in two phases: it first looks for a handler, with the stack whole, and unwinds to it
// only then. The look compares types by a virtual function of the handler's std::type_info. So our frames have, before
// their `catch (...)`, a handler for the type Passing, whose type_info is ours: it notes down the place of the throw,
// copying the stack, and answers that it does not match.
//
//     throw ---> [phase 1] Passing's look: a note, kPassing ---> [phase 2] destructors ---> catch (...): claim_note()
//
//               thrown, looked at                        claim_note()
//     (no note) -----------------> kPassing ---------------------------> kHandled ---> recovered or replaced: dropped
//                                     ^                                     |
//                                     '--- looked at again --- kThrownOn <--' `throw;` after the deferred calls
//
// I1. Of our frames each look is followed by its claim: what stands behind Passing's handler is `catch (...)`. In
//     between run destructors only, and what these throw must end in them. So notes are a stack, and the newest
//     kPassing one is the one to claim.
// I2. A handler of the user's may catch a panic that was thrown on, and does not tell. Its note then lies kThrownOn
//     until the next throw that is looked at, or the goroutine's end. Such a throw finds it by that no other exception
//     is in flight.
// I3. A note owns its exception only while kHandled; so it never delays the end of one that a user's handler caught.
// I4. Only the goroutine touches its notes. They are allocated: the throw has done that as well, so nobody is in a
//     section.
#pragma once

#include <exception>
#include <string>
#include <typeinfo>

#include <heddle/core/internal/g.h>
#include <heddle/core/internal/unwind.h>

namespace heddle {

struct GoExit;

namespace detail {

/// `catch (const Passing&)` matches nothing; see above. The virtual destructor, which is defined nowhere, keeps the
/// compiler from making a type_info of its own.
struct Passing {
  virtual ~Passing();
};
/// The same at the bottom of a goroutine: what is looked at here will end the process.
struct Leaving {
  virtual ~Leaving();
};

struct PanicNote {
  enum class State : std::uint8_t { kPassing, kHandled, kThrownOn };

  PanicNote* below = nullptr;
  State state = State::kPassing;
  bool goexit = false;       // not a panic: goexit() on its way
  bool over_goexit = false;  // it took the place of goexit(), which goes on when it is recovered
  bool recovered = false;
  bool repanicked = false;  // and thrown again since
  bool has_image = false;
  const void* object = nullptr;  // the exception, from the first claim on
  std::exception_ptr exception;  // likewise, while kHandled; null if it is none of C++'s
  std::string before;            // the report's lines about the panics that it took the place of
  StackImage image;              // where it was thrown
};

/// The calling goroutine's; off goroutines the thread's.
[[nodiscard]] PanicState& panic_state() noexcept;

/// In the `catch (...)` behind a Passing or Leaving: the note of what was caught.
[[nodiscard]] PanicNote* claim_note(PanicState& state) noexcept;

/// In the same place within the handler of `older`: what is to be claimed has taken its place, whose note goes.
void replace_note(PanicState& state, PanicNote* older) noexcept;

/// Before the `throw;` that hands it to the next frame out.
void throw_note_on(PanicState& state, PanicNote* note) noexcept;

/// It has been dealt with.
void drop_note(PanicState& state, PanicNote* note) noexcept;

/// The goroutine ends.
void drop_notes(PanicState& state) noexcept;

/// The report's first lines: this panic, after those that it took the place of.
[[nodiscard]] std::string panic_lines(const PanicNote& note);

/// Deferred calls of a goroutine run because of a panic, in this scope.
class PanicInProgress {
 public:
  PanicInProgress() noexcept;
  ~PanicInProgress();
  PanicInProgress(const PanicInProgress&) = delete;
  PanicInProgress& operator=(const PanicInProgress&) = delete;

 private:
  bool counted_;
};

/// run() begins: those that are counted were abandoned with their goroutines.
void forget_panics() noexcept;

/// The main goroutine has returned: lets panics of others come to their report for a while, so that the process does
/// not end well just before it would have said why it fails. Does not return once a report is being made.
void wait_for_panics();

}  // namespace detail
}  // namespace heddle
