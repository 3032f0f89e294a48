// Reading systemd's three variables.
#include <heddle/net/inherit.h>

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <system_error>

namespace heddle::net {
namespace {

constexpr int kFirst = 3;        // SD_LISTEN_FDS_START
constexpr long kMost = 1 << 16;  // a larger LISTEN_FDS is no number of sockets but a mistake

// A whole number, or -1.
long number_in(const char* text) noexcept {
  long value = -1;
  const char* last = text + std::strlen(text);
  const auto [end, error] = std::from_chars(text, last, value);
  return error == std::errc{} && end == last ? value : -1;
}

}  // namespace

std::vector<InheritedFd> detail::parse_inherited(const char* pid, const char* count, const char* names, long self,
                                                 int first) {
  std::vector<InheritedFd> out;
  if (pid == nullptr || count == nullptr || number_in(pid) != self) return out;
  const long n = number_in(count);
  if (n <= 0 || n > kMost) return out;
  std::string_view rest = names != nullptr ? names : "";
  for (int i = 0; i < n; ++i) {
    const std::size_t colon = rest.find(':');
    const std::string_view name = rest.substr(0, colon);
    out.push_back({first + i, name.empty() ? "unknown" : std::string(name)});
    rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
  }
  return out;
}

std::vector<InheritedFd> inherited_fds() {
  std::vector<InheritedFd> out = detail::parse_inherited(std::getenv("LISTEN_PID"), std::getenv("LISTEN_FDS"),
                                                         std::getenv("LISTEN_FDNAMES"), ::getpid(), kFirst);
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  std::erase_if(out, [](const InheritedFd& one) { return ::fcntl(one.fd, F_SETFD, FD_CLOEXEC) < 0; });  // not open
  return out;
}

}  // namespace heddle::net
