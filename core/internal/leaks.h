// What run()'s end asks of the search for leaked goroutines.
#pragma once

#include <heddle/core/leaks.h>

namespace heddle {

/// The search, when the scheduler has stopped and its threads have ended: who of those left behind nobody could have woken.
/// Threads: the one that called run(), before their stacks are taken back.
[[nodiscard]] LeakReport find_leaks_at_end();

}  // namespace heddle
