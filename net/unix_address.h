// UnixAddress: the name of a Unix socket: a path, an abstract name, or none.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <string_view>

#include <heddle/core/error.h>

namespace heddle::net {

/// Where a Unix socket is. Small and copyable. Source: unix(7), "Address format".
class UnixAddress {
 public:
  /// No name: to be bound to, it asks the kernel to pick an abstract one; a peer may have none.
  UnixAddress() noexcept = default;

  /// "/run/app.sock" and "app.sock" are paths. "@app" is abstract: known in this network namespace as long as a socket
  /// has it, in no file system, and open to every user. A path that begins with '@' is to be written "./@app". "" is no
  /// name.
  ///
  /// Errors:  kInvalid if it is longer than 107 bytes, or has a NUL in it.
  [[nodiscard]] static Result<UnixAddress> parse(std::string_view text);
  [[nodiscard]] static UnixAddress from(const sockaddr* sa, socklen_t len) noexcept;

  /// As parse() takes it.
  [[nodiscard]] std::string to_string() const;

  [[nodiscard]] bool is_unnamed() const noexcept { return size_ <= kNameAt; }
  [[nodiscard]] bool is_abstract() const noexcept { return !is_unnamed() && sa_.sun_path[0] == '\0'; }
  [[nodiscard]] bool is_path() const noexcept { return !is_unnamed() && sa_.sun_path[0] != '\0'; }

  [[nodiscard]] const sockaddr* sa() const noexcept { return reinterpret_cast<const sockaddr*>(&sa_); }
  [[nodiscard]] socklen_t size() const noexcept { return size_; }

  friend bool operator==(const UnixAddress& a, const UnixAddress& b) noexcept { return a.name() == b.name(); }

 private:
  static constexpr socklen_t kNameAt = sizeof(sa_family_t);
  static_assert(sizeof(sockaddr_un) == kNameAt + sizeof(sockaddr_un::sun_path), "the name follows the family at once");

  // A path without its end's NUL; an abstract name with the NUL that it begins with.
  [[nodiscard]] std::string_view name() const noexcept {
    return {sa_.sun_path, size_ - kNameAt - (is_path() ? 1U : 0U)};
  }

  sockaddr_un sa_{.sun_family = AF_UNIX, .sun_path = {}};
  socklen_t size_ = kNameAt;  // a path's counts its NUL
};

}  // namespace heddle::net
