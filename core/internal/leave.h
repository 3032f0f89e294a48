// A goroutine leaves its stack. In a header, to be inlined where it is called: see HEDDLE_INLINE_SWITCH.
#pragma once

#include <heddle/core/internal/context.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/internal/sched.h>

namespace heddle {

/// Leaves the current goroutine for its M's scheduler, which does what `m->leave` says. Returns when it runs again.
HEDDLE_INLINE_SWITCH void leave_g(M* m, G* g) noexcept {
  if (m->eh->any()) {
    g->eh = *m->eh;
    *m->eh = EhGlobals{};
  }
  const bool ends = m->leave == Leave::kExit;
  sanitizer::start_switch(ends ? nullptr : &g->fake_stack, m->g0_stack_lo, m->g0_stack_size, m->g0_fiber);
  switch_stack(&g->sp, m->g0_sp);
  sanitizer::finish_switch(g->fake_stack);
}

}  // namespace heddle
