// Dates as HTTP writes them: one form to send, three to understand (RFC 9110 s5.6.7).
//
// A date has a grain of one second and is always UTC. What is not one of the three forms to the letter is no date:
// the RFC has conditions with such dates ignored, so a generous reading would make a condition out of nothing.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace heddle::http {

/// "Sun, 06 Nov 1994 08:49:37 GMT": always this long.
inline constexpr std::size_t kDateSize = 29;

/// Writes `when`, of the years 0 to 9999, as an IMF-fixdate, kDateSize bytes; returns their end. Asks no time zone
/// database, takes no lock.
char* put_date(char* to, std::chrono::sys_seconds when) noexcept;

/// The same as text.
[[nodiscard]] std::string format_date(std::chrono::sys_seconds when);

/// Reads a date in any of the three forms; nothing if it is none, or no day of the calendar.
///
/// "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994". Names are
/// case-sensitive; a name of the wrong weekday is passed over. A year of two digits is the one that is at most 50 years
/// after `now`. Second 60 is the next minute's first.
[[nodiscard]] std::optional<std::chrono::sys_seconds> parse_date(std::string_view text,
                                                                 std::chrono::sys_seconds now) noexcept;
/// The same, with the clock's now.
[[nodiscard]] std::optional<std::chrono::sys_seconds> parse_date(std::string_view text) noexcept;

}  // namespace heddle::http
