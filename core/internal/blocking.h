// The helper Ms under blocking().
#pragma once

namespace heddle {

/// Ends and joins the helpers. All wait, or end their goroutine at its next call of the runtime.
void helpers_stop();
/// Starts one, already counted. On the maker's thread (spares.cc): it allocates.
void start_helper();
/// When nobody looks at Ms any more.
void free_helpers() noexcept;

}  // namespace heddle
