// The end of core/notify.h's part of a run().
#pragma once

namespace heddle {

/// Gives all signals back and ends the courier. Threads: run()'s, when no goroutine runs any more.
void notify_end() noexcept;

}  // namespace heddle
