// The look at a throw, and the notes it makes.
#include <heddle/core/internal/panics.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <cxxabi.h>
#include <new>
#include <utility>

#include <heddle/core/check.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/panic.h>

namespace heddle::detail {
namespace {

// Panics whose deferred calls run, and those that are certain to end the process.
constinit std::atomic<int> in_progress{0};

constinit thread_local PanicState of_thread;

// The part of the C++ runtime's header of a caught exception that we look at. Source: Itanium C++ ABI, 2.2.1; libstdc++
// has the same fields before handlerCount in headers of both its kinds.
struct CaughtHeader {
  void* type;
  void (*destructor)(void*);
  void (*unexpected)();
  void (*terminate)();
  CaughtHeader* next;
  int handler_count;  // below zero: it is being thrown again by `throw;`, until the handler is left
};
static_assert(offsetof(CaughtHeader, handler_count) == 5 * sizeof(void*));

bool thrown_again() noexcept {
  const auto* globals = reinterpret_cast<const EhGlobals*>(abi::__cxa_get_globals());
  return globals->caught != nullptr && static_cast<const CaughtHeader*>(globals->caught)->handler_count < 0;
}

// An exception_ptr is a pointer to the exception's object (libstdc++, bits/exception_ptr.h).
const void* object_of(const std::exception_ptr& exception) noexcept {
  static_assert(sizeof exception == sizeof(const void*));
  const void* object = nullptr;
  std::memcpy(&object, static_cast<const void*>(&exception), sizeof object);
  return object;
}

void pop(PanicState& state) noexcept {
  PanicNote* note = state.notes;
  state.notes = note->below;
  delete note;
}

// Those that were thrown on and then caught by somebody else; not the one of `but`.
void pop_forgotten(PanicState& state, const void* but) noexcept {
  using enum PanicNote::State;
  while (state.notes != nullptr && state.notes->state == kThrownOn && state.notes->object != but) pop(state);
}

[[gnu::noinline]] void take_image(PanicNote& note) {
  const G* g = current_g();
  if (g == nullptr) return;
  Registers here;
  read_registers_here(here);
  try {
    note.has_image = copy_from(*g, here, note.image);
  } catch (const std::bad_alloc&) {  // then the report shows where it was thrown on last
  }
}

// Phase 1 of a throw has come to one of our frames.
void look_at_throw(const std::type_info& type, bool leaves) noexcept {
  PanicState& state = panic_state();
  const bool goexit = type == typeid(GoExit);
  // relaxed: wait_for_panics() waits on luck, as long as there is hope.
  if (leaves && !goexit) in_progress.fetch_add(1, std::memory_order_relaxed);
  const void* object = thrown_again() ? object_of(std::current_exception()) : nullptr;
  if (std::uncaught_exceptions() == 1) pop_forgotten(state, object);
  if (object != nullptr && state.notes != nullptr && state.notes->object == object) {
    state.notes->state = PanicNote::State::kPassing;
    return;
  }
  auto* note = new (std::nothrow) PanicNote;
  if (note == nullptr) fatal("no memory to note a panic down");
  note->below = std::exchange(state.notes, note);
  note->goexit = goexit;
  if (!goexit) take_image(*note);
}

std::string line(const PanicNote& note) {
  if (note.goexit) return {};
  std::string text = "panic: ";
  if (note.exception == nullptr) return text + "foreign exception\n";
  for (const char c : PanicValue(note.exception).text()) {
    text += c;
    if (c == '\n') text += '\t';
  }
  text += note.repanicked ? " [recovered, repanicked]\n" : note.recovered ? " [recovered]\n" : "\n";
  return text;
}

}  // namespace

// The type_info of Passing and Leaving. Not in the namespace above: then they would have no symbol outside this file.
class Looks final : public std::type_info {
 public:
  Looks(const char* name, bool leaves) noexcept : type_info(name), leaves_(leaves) {}
  bool __do_catch(const std::type_info* type, void** /*object*/, unsigned /*outer*/) const override {
    look_at_throw(*type, leaves_);
    return false;
  }

 private:
  bool leaves_;
};

// Found by these symbols, the compiler's names for typeid(Passing) and typeid(Leaving). Made first of all: other
// objects of the program may panic while they are constructed.
extern const Looks type_of_passing asm("_ZTIN6heddle6detail7PassingE");
extern const Looks type_of_leaving asm("_ZTIN6heddle6detail7LeavingE");
[[gnu::init_priority(101)]] const Looks type_of_passing("N6heddle6detail7PassingE", false);
[[gnu::init_priority(101)]] const Looks type_of_leaving("N6heddle6detail7LeavingE", true);

PanicState& panic_state() noexcept {
  G* g = current_g();
  return g == nullptr ? of_thread : g->panics;
}

PanicNote* claim_note(PanicState& state) noexcept {
  PanicNote* note = state.notes;
  HEDDLE_CHECK(note != nullptr && note->state == PanicNote::State::kPassing);
  note->state = PanicNote::State::kHandled;
  note->exception = std::current_exception();
  note->object = object_of(note->exception);
  return note;
}

void replace_note(PanicState& state, PanicNote* older) noexcept {
  PanicNote* newer = state.notes;
  if (newer == older) {  // thrown again by `throw;`
    older->repanicked |= std::exchange(older->recovered, false);
    return;
  }
  newer->over_goexit |= older->goexit || older->over_goexit;
  try {
    if (object_of(std::current_exception()) == older->object) {
      // The same panic: it is told once, and from where it began.
      newer->repanicked = older->repanicked || older->recovered;
      newer->before = std::move(older->before);
      newer->image = std::move(older->image);
      newer->has_image = older->has_image;
    } else {
      newer->before = older->before + line(*older) + (older->goexit ? "" : "\t") + newer->before;
    }
  } catch (const std::bad_alloc&) {  // the report will know of the newer one alone
  }
  PanicNote** at = &newer->below;
  while (*at != older) at = &(*at)->below;
  *at = older->below;
  delete older;
}

void throw_note_on(PanicState& state, PanicNote* note) noexcept {
  while (state.notes != note) pop(state);  // what the deferred calls' own handlers have caught
  note->state = PanicNote::State::kThrownOn;
  note->exception = nullptr;
}

void drop_note(PanicState& state, PanicNote* note) noexcept {
  while (state.notes != note) pop(state);  // likewise
  pop(state);
}

void drop_notes(PanicState& state) noexcept {
  while (state.notes != nullptr) pop(state);
}

std::string panic_lines(const PanicNote& note) { return note.before + line(note); }

// relaxed, all: as in look_at_throw().
PanicInProgress::PanicInProgress() noexcept : counted_(current_g() != nullptr) {
  if (counted_) in_progress.fetch_add(1, std::memory_order_relaxed);
}
PanicInProgress::~PanicInProgress() {
  if (counted_) in_progress.fetch_sub(1, std::memory_order_relaxed);
}

void forget_panics() noexcept { in_progress.store(0, std::memory_order_relaxed); }

void wait_for_panics() {
  // As many turns as Go grants: a deferred call that waits for the main goroutine must not keep it for ever.
  for (int i = 0; i < 1'000 && in_progress.load(std::memory_order_relaxed) != 0; ++i) gosched();
  while (dying_of_panic()) sleep(std::chrono::seconds(1));
}

}  // namespace heddle::detail
