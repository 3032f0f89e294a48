// What the loopback tests share: a scheduler to run in, connected pairs, checksummed data, and a count of descriptors.
#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>
#include <heddle/net/tcp.h>

namespace heddle::net::test {

using namespace std::chrono_literals;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr int kSanitized = 1;
#else
inline constexpr int kSanitized = 0;
#endif

/// A limit for what must come: generous, because a loaded machine is not a bug.
inline TimePoint patience() { return now() + 20s; }

/// Runs `body` as the main goroutine of a scheduler with `procs` Ps.
template <class Body>
void with_procs(int procs, Body body) {
  RunOptions options;
  options.procs = procs;
  run([&] { body(); }, options);
}

inline Address any_port(const char* host = "127.0.0.1") { return *Address::parse(std::string(host) + ":0"); }

template <class T>
T must(Result<T> made) {
  if (!made) {
    ADD_FAILURE() << made.error().message();
    std::abort();
  }
  return std::move(*made);
}

inline Listener must_listen(const Address& address = any_port()) { return must(listen(address)); }

/// Two ends of one connection.
inline std::pair<Conn, Conn> connected_pair(const Address& address = any_port()) {
  Listener listener = must_listen(address);
  Conn near = must(dial(*listener.local_address()));
  Conn far = must(listener.accept());
  listener.close();
  return {std::move(near), std::move(far)};
}

/// The `i`-th byte of a stream that no two positions close to each other share: a torn or repeated read shows.
inline std::byte byte_at(std::uint64_t i, std::uint64_t seed = 0) {
  const std::uint64_t x = (i + seed * 7919) * 0x9E37'79B9'7F4A'7C15ULL;
  return static_cast<std::byte>(x >> 56);
}

inline std::vector<std::byte> bytes_of(std::size_t size, std::uint64_t seed = 0, std::uint64_t from = 0) {
  std::vector<std::byte> out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = byte_at(from + i, seed);
  return out;
}

/// Checks that `bytes` are those from position `from` on; returns the position after them.
[[nodiscard]] inline std::uint64_t check_bytes(std::span<const std::byte> bytes, std::uint64_t from, std::uint64_t seed = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != byte_at(from + i, seed)) {
      ADD_FAILURE() << "byte " << from + i << " is wrong";
      break;
    }
  }
  return from + bytes.size();
}

/// Reads to the end what begins with position `at`; returns the position after it.
[[nodiscard]] inline std::uint64_t read_stream(Transport& from, std::uint64_t at = 0, std::uint64_t seed = 0) {
  std::vector<std::byte> buf(30'000);
  for (;;) {
    const Result<std::size_t> n = from.read(buf);
    if (!n) {
      ADD_FAILURE() << n.error().message();
      return at;
    }
    if (*n == 0) return at;
    at = check_bytes({buf.data(), *n}, at, seed);
  }
}

/// Fills the connection until its peer's buffers and its own are full, and stay so.
inline void fill(Conn& conn) {
  const std::vector<std::byte> block(1 << 20);
  for (int full = 0; full < 3;) {
    const ssize_t n = ::send(conn.native_handle(), block.data(), block.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
      full = 0;
      continue;
    }
    ++full;
    sleep(2ms);  // the kernel may still move some from here to there
  }
}

/// Open descriptors of this process.
inline int open_fds() {
  int n = 0;
  DIR* dir = ::opendir("/proc/self/fd");
  while (const dirent* entry = ::readdir(dir)) {
    // sysmon reads files of /proc at times, and has one open for some microseconds. The listing is one, too.
    char target[8] = {};
    if (::readlinkat(::dirfd(dir), entry->d_name, target, 6) >= 0 && std::strcmp(target, "/proc/") != 0) ++n;
  }
  ::closedir(dir);
  return n;
}

}  // namespace heddle::net::test
