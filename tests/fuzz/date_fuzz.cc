// Dates: what was read and written is read as the same moment; any moment of the years 0 to 9999 survives; what is written is
// the only way to write it. Cookies' own reading of dates understands what is written.
//
// Input: 8 bytes, a moment; then text.
#include <heddle/http/cookie.h>
#include <heddle/http/date.h>

#include <chrono>

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  namespace chrono = std::chrono;
  using chrono::sys_seconds;
  heddle::fuzz::Input input(data, size);
  const sys_seconds first{chrono::sys_days(chrono::year(0) / 1 / 1)};
  const sys_seconds end{chrono::sys_days(chrono::year(10'000) / 1 / 1)};
  const auto span = static_cast<std::uint64_t>((end - first).count());
  const sys_seconds moment = first + chrono::seconds((input.word() << 32 | input.word()) % span);
  const sys_seconds now{chrono::sys_days(chrono::year(2026) / 11 / 22)};

  const std::string written = format_date(moment);
  FUZZ_CHECK(written.size() == kDateSize);
  FUZZ_CHECK(parse_date(written, now) == moment);
  if (moment >= sys_seconds(chrono::sys_days(chrono::year(1601) / 1 / 1))) {
    FUZZ_CHECK(parse_cookie_date(written) == moment);
  }
  const chrono::year_month_day day(chrono::floor<chrono::days>(moment));
  FUZZ_CHECK(std::stoi(written.substr(5, 2)) == static_cast<int>(static_cast<unsigned>(day.day())));
  FUZZ_CHECK(std::stoi(written.substr(12, 4)) == static_cast<int>(day.year()));

  const std::string text = input.rest();
  const heddle::fuzz::Exact exact(text);
  if (const auto read = parse_date(exact, now)) {
    FUZZ_CHECK(*read >= first && *read <= end);
    if (*read < end) FUZZ_CHECK(parse_date(format_date(*read), now) == read);
    const bool is_fixdate = text.size() == kDateSize && text.ends_with(" GMT") && text[7] == ' ';
    const bool leap = text.find(":60") != std::string::npos;
    if (is_fixdate && !leap) FUZZ_SAME(format_date(*read).substr(5), text.substr(5));
  }
  if (const auto read = parse_cookie_date(exact); read && *read < end) {
    FUZZ_CHECK(*read >= sys_seconds(chrono::sys_days(chrono::year(1601) / 1 / 1)));
    FUZZ_CHECK(parse_cookie_date(format_date(*read)) == read);
  }
  return 0;
}
