// Taking a goroutine off its P from a signal handler; see preempt.cc.
#pragma once

#include <ucontext.h>

#include <heddle/core/internal/sanitizer.h>

namespace heddle {

struct M;

/// Once per process, before the first signal.
void preempt_setup();

/// In the runtime's signal handler, on M `m`'s thread. Returns when the goroutine may go on.
HEDDLE_UNINSTRUMENTED void preempt_here(M* m, const ucontext_t* context) noexcept;

}  // namespace heddle
