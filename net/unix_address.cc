// Parsing and printing the names of Unix sockets.
#include <heddle/net/unix_address.h>

#include <algorithm>
#include <cstring>

namespace heddle::net {

Result<UnixAddress> UnixAddress::parse(std::string_view text) {
  UnixAddress address;
  if (text.empty()) return address;
  // A path needs its NUL. An abstract name does without, but has one in front, which stands where the '@' does.
  if (text.size() >= sizeof address.sa_.sun_path) {
    return std::unexpected(Error{Code::kInvalid, 0, "parse unix address: longer than 107 bytes"});
  }
  if (text.find('\0') != std::string_view::npos) {
    return std::unexpected(Error{Code::kInvalid, 0, "parse unix address: a NUL in the name"});
  }
  std::memcpy(address.sa_.sun_path, text.data(), text.size());
  address.size_ = kNameAt + static_cast<socklen_t>(text.size());
  if (text.front() == '@') {
    address.sa_.sun_path[0] = '\0';
  } else {
    ++address.size_;
  }
  return address;
}

UnixAddress UnixAddress::from(const sockaddr* sa, socklen_t len) noexcept {
  UnixAddress address;
  if (sa == nullptr || len <= kNameAt || sa->sa_family != AF_UNIX) return address;
  // getsockname(2) may count a NUL behind a path of 108 bytes, which somebody else has bound; it is cut.
  std::size_t size = std::min<std::size_t>(len - kNameAt, sizeof address.sa_.sun_path);
  std::memcpy(address.sa_.sun_path, reinterpret_cast<const char*>(sa) + kNameAt, size);
  if (address.sa_.sun_path[0] != '\0') {
    size = ::strnlen(address.sa_.sun_path, std::min(size, sizeof address.sa_.sun_path - 1));
    address.sa_.sun_path[size++] = '\0';
  }
  address.size_ = kNameAt + static_cast<socklen_t>(size);
  return address;
}

std::string UnixAddress::to_string() const {
  std::string text(name());
  if (is_abstract()) text.front() = '@';
  return text;
}

}  // namespace heddle::net
