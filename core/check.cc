#include <heddle/core/check.h>

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include <heddle/core/internal/bubble.h>

namespace heddle {

void fatal(const char* format, ...) noexcept {
  char text[1024];
  int used = std::snprintf(text, sizeof text, "heddle: fatal: ");
  va_list args;
  va_start(args, format);
  const int more = std::vsnprintf(text + used, sizeof text - static_cast<std::size_t>(used) - 1, format, args);
  va_end(args);
  if (more > 0) used += more;
  if (used > static_cast<int>(sizeof text) - 2) used = sizeof text - 2;
  text[used++] = '\n';
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, static_cast<std::size_t>(used));
  tell_test_seed();
  std::abort();
}

}  // namespace heddle
