// The helper Ms under blocking().
#pragma once

#include <cstdint>

namespace heddle {

/// Ends and joins the helpers. All wait, or end their goroutine at its next call of the runtime.
void helpers_stop();
/// Starts one, already counted. On the maker's thread (spares.cc): it allocates.
void start_helper();
/// When nobody looks at Ms any more.
void free_helpers() noexcept;

namespace detail {
/// After so many ns without a job a helper ends; 0: the usual time. While no scheduler runs.
void set_helper_idle_exit_for_test(std::int64_t ns) noexcept;
/// Tokens that no helper has taken yet.
[[nodiscard]] std::uint32_t helper_tokens_for_test() noexcept;
}  // namespace detail

}  // namespace heddle
