#include <heddle/http/date.h>

#include <array>
#include <cstring>

namespace heddle::http {
namespace {

namespace chrono = std::chrono;

constexpr std::string_view kDays = "SunMonTueWedThuFriSat";
constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
constexpr std::array<std::string_view, 7> kLongDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                       "Thursday", "Friday", "Saturday"};

void put_two(char* to, unsigned value) noexcept {
  to[0] = static_cast<char>('0' + value / 10);
  to[1] = static_cast<char>('0' + value % 10);
}

// Cuts the parts of a date off a text; the first that is not there makes all of it wrong.
class Cutter {
 public:
  explicit Cutter(std::string_view text) noexcept : rest_(text) {}

  void literal(std::string_view text) noexcept {
    ok_ = ok_ && rest_.starts_with(text);
    if (ok_) rest_.remove_prefix(text.size());
  }

  // Exactly so many digits.
  unsigned number(std::size_t digits) noexcept {
    ok_ = ok_ && rest_.size() >= digits;
    unsigned value = 0;
    for (std::size_t i = 0; ok_ && i < digits; ++i) {
      ok_ = rest_[i] >= '0' && rest_[i] <= '9';
      value = value * 10 + static_cast<unsigned>(rest_[i] - '0');
    }
    if (ok_) rest_.remove_prefix(digits);
    return value;
  }

  // One of the names of three letters, by its place among them.
  unsigned name(std::string_view names) noexcept {
    for (std::size_t i = 0; ok_ && i < names.size(); i += 3) {
      if (!rest_.starts_with(names.substr(i, 3))) continue;
      rest_.remove_prefix(3);
      return static_cast<unsigned>(i / 3);
    }
    ok_ = false;
    return 0;
  }

  void long_day() noexcept {
    for (const std::string_view day : kLongDays) {
      if (ok_ && rest_.starts_with(day)) return rest_.remove_prefix(day.size());
    }
    ok_ = false;
  }

  void time(unsigned (&of_day)[3]) noexcept {
    of_day[0] = number(2);
    literal(":");
    of_day[1] = number(2);
    literal(":");
    of_day[2] = number(2);
  }

  [[nodiscard]] char next() const noexcept { return rest_.empty() ? '\0' : rest_.front(); }
  [[nodiscard]] bool whole() const noexcept { return ok_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

struct Parts {
  int year = 0;
  unsigned month = 0;  // from 0
  unsigned day = 0;
  unsigned time[3]{};
};

bool cut_fixdate(std::string_view text, Parts& parts) noexcept {
  Cutter in(text);
  in.name(kDays);
  in.literal(", ");
  parts.day = in.number(2);
  in.literal(" ");
  parts.month = in.name(kMonths);
  in.literal(" ");
  parts.year = static_cast<int>(in.number(4));
  in.literal(" ");
  in.time(parts.time);
  in.literal(" GMT");
  return in.whole();
}

// The year is left with two digits.
bool cut_rfc850(std::string_view text, Parts& parts) noexcept {
  Cutter in(text);
  in.long_day();
  in.literal(", ");
  parts.day = in.number(2);
  in.literal("-");
  parts.month = in.name(kMonths);
  in.literal("-");
  parts.year = static_cast<int>(in.number(2));
  in.literal(" ");
  in.time(parts.time);
  in.literal(" GMT");
  return in.whole();
}

bool cut_asctime(std::string_view text, Parts& parts) noexcept {
  Cutter in(text);
  in.name(kDays);
  in.literal(" ");
  parts.month = in.name(kMonths);
  in.literal(" ");
  const bool blank = in.next() == ' ';
  if (blank) in.literal(" ");
  parts.day = in.number(blank ? 1 : 2);
  in.literal(" ");
  in.time(parts.time);
  in.literal(" ");
  parts.year = static_cast<int>(in.number(4));
  return in.whole();
}

std::optional<chrono::sys_seconds> moment_of(const Parts& parts) noexcept {
  const chrono::year_month_day date(chrono::year(parts.year), chrono::month(parts.month + 1), chrono::day(parts.day));
  if (!date.ok() || parts.time[0] > 23 || parts.time[1] > 59 || parts.time[2] > 60) return std::nullopt;
  return chrono::sys_days(date) + chrono::hours(parts.time[0]) + chrono::minutes(parts.time[1]) +
         chrono::seconds(parts.time[2]);
}

// RFC 9110 s5.6.7: what seems to be more than 50 years ahead is the most recent year in the past with those digits.
int full_year(int two_digits, chrono::sys_seconds now) noexcept {
  const int this_year = static_cast<int>(chrono::year_month_day(chrono::floor<chrono::days>(now)).year());
  const int last = this_year + 50;
  return last - (last - two_digits) % 100;
}

}  // namespace

// Not gmtime_r(3): glibc's takes the lock of the time zone database.
char* put_date(char* to, chrono::sys_seconds when) noexcept {
  const auto day = chrono::floor<chrono::days>(when);
  const chrono::year_month_day date(day);
  const auto of_day = static_cast<unsigned>((when - day).count());
  const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
  std::memcpy(to, "ddd, dd mmm yyyy hh:mm:ss GMT", kDateSize);
  std::memcpy(to, kDays.data() + std::size_t{3} * chrono::weekday(day).c_encoding(), 3);
  put_two(to + 5, static_cast<unsigned>(date.day()));
  std::memcpy(to + 8, kMonths.data() + std::size_t{3} * (static_cast<unsigned>(date.month()) - 1), 3);
  put_two(to + 12, year / 100);
  put_two(to + 14, year % 100);
  put_two(to + 17, of_day / 3600);
  put_two(to + 20, of_day / 60 % 60);
  put_two(to + 23, of_day % 60);
  return to + kDateSize;
}

std::string format_date(chrono::sys_seconds when) {
  std::string text(kDateSize, '\0');
  put_date(text.data(), when);
  return text;
}

std::optional<chrono::sys_seconds> parse_date(std::string_view text, chrono::sys_seconds now) noexcept {
  Parts parts;
  if (cut_fixdate(text, parts) || cut_asctime(text, parts)) return moment_of(parts);
  if (!cut_rfc850(text, parts)) return std::nullopt;
  parts.year = full_year(parts.year, now);
  return moment_of(parts);
}

std::optional<chrono::sys_seconds> parse_date(std::string_view text) noexcept {
  return parse_date(text, chrono::floor<chrono::seconds>(chrono::system_clock::now()));
}

}  // namespace heddle::http
