// A pin is a runtime section (section.h), which signal handlers and sysmon respect already. That a pinned goroutine
// does not park costs a park nothing to check: the goroutine's hook for parking (set_on_park) is one that dies, as long
// as the pin lasts.
#include <heddle/core/pin.h>

#include <heddle/core/check.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/sched.h>

namespace heddle {

static_assert(kMostPs == kMaxProcs);

void pinned_parks(void*) { fatal("a pinned goroutine parks or yields: end the heddle::Pin before"); }

Pin::Pin() {
  G* g = must_current_g("pin");
  for (;;) {
    detail::ThreadState* t = detail::enter_section();
    if (const P* p = held_p(t->m); p != nullptr) [[likely]] {
      p_ = p->index;
      break;
    }
    const bool helper = t->m->helper;
    detail::leave_section(t);
    if (helper) fatal("pin inside blocking(): there is no P to be pinned to");
    gosched();
  }
  on_park_ = g->on_park;
  on_park_arg_ = g->on_park_arg;
  g->on_park = &pinned_parks;
}

Pin::~Pin() {
  G* g = current_g();
  g->on_park = on_park_;
  g->on_park_arg = on_park_arg_;
  detail::leave_section();
}

int pinned_p() noexcept {
  if (must_current_g("pinned_p")->on_park != &pinned_parks) fatal("pinned_p: the goroutine is not pinned");
  return current_m()->p->index;  // ours as long as the section lasts, also if who stops the world looks at the lease
}

}  // namespace heddle
