// What the tests of Unix sockets share: names, a folder that goes away, and descriptors to pass.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include <heddle/net/fd_passing.h>
#include <heddle/net/unix.h>

#include "net_test_util.h"

namespace heddle::net::test {

/// A fresh folder, removed with what is in it.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "heddle-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] std::string path(const char* name) const { return path_ + "/" + name; }
  [[nodiscard]] UnixAddress address(const char* name) const { return *UnixAddress::parse(path(name)); }

 private:
  std::string path_;
};

inline bool exists(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0;
}

template <class T>
T must_have(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().message();
    std::abort();
  }
  return std::move(*result);
}

/// The reading end of a pipe that holds `text` and has no writer any more.
inline OwnedFd pipe_with(std::string_view text) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) std::abort();
  EXPECT_EQ(::write(fds[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  ::close(fds[1]);
  return OwnedFd(fds[0]);
}

inline std::string all_of(int fd) {
  char buf[100];
  const ssize_t n = ::read(fd, buf, sizeof buf);
  return {buf, static_cast<std::size_t>(n > 0 ? n : 0)};
}

inline std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
inline std::string text_of(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

}  // namespace heddle::net::test
