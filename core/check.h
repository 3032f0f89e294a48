// What happens when heddle itself is wrong: say so without allocating, then abort.
//
// fatal() is for what only our bug, or a caller's broken contract, can cause; what a peer, the kernel or the user can
// cause is a value (error.h). It formats into a buffer on the stack and uses write(2), so it may be called from a signal
// handler, on a goroutine's stack, and below the scheduler. Cheap checks stay on in release builds (HEDDLE_CHECK); dear
// ones are compiled in where HEDDLE_DCHECKS is defined (debug and sanitizer presets; the target exports the macro, so
// that a library and its user never disagree on a layout).
#pragma once

namespace heddle {

/// Prints `heddle: fatal: …` in printf(3)'s format to standard error and aborts. Never returns, never allocates.
[[noreturn, gnu::format(printf, 1, 2), gnu::cold]] void fatal(const char* format, ...) noexcept;

}  // namespace heddle

#define HEDDLE_CHECK(cond)                                                                        \
  (__builtin_expect(static_cast<bool>(cond), 1)                                                   \
       ? static_cast<void>(0)                                                                     \
       : ::heddle::fatal("%s:%d: check failed: %s", __FILE__, __LINE__, #cond))

#ifdef HEDDLE_DCHECKS
#define HEDDLE_DCHECK(cond) HEDDLE_CHECK(cond)
#else
#define HEDDLE_DCHECK(cond) static_cast<void>(sizeof(static_cast<bool>(cond)))
#endif
