// What tests on real sockets share: a client that blocks its thread, and a server that must leave nothing behind.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "http_test.h"

namespace heddle::http::test {

/// A client's socket. Every call blocks its thread, for 20 s at most.
class Socket {
 public:
  explicit Socket(std::uint16_t port, int receive_buffer = 0) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval limit{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (receive_buffer != 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
  }
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  void finish() { ::shutdown(fd_, SHUT_WR); }
  void reset() {
    const linger hard{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    ::close(fd_);
    fd_ = -1;
  }

  /// What one call gives; empty at the end, or if there was none for 20 s.
  std::string read_some() {
    char buffer[65536];
    const ssize_t n = ::recv(fd_, buffer, sizeof(buffer), 0);
    return n <= 0 ? std::string() : std::string(buffer, static_cast<std::size_t>(n));
  }

  /// What comes until the server's end of stream; `broken` if it is a reset or nothing for 20 s.
  std::string read_to_end(bool* broken = nullptr) {
    std::string all;
    char buffer[65536];
    for (;;) {
      const ssize_t n = ::recv(fd_, buffer, sizeof(buffer), 0);
      if (n <= 0) {
        if (broken != nullptr) *broken = n < 0;
        return all;
      }
      all.append(buffer, static_cast<std::size_t>(n));
    }
  }

  /// One response with a Content-Length; empty if the connection ended first.
  std::string read_response() {
    for (;;) {
      const std::size_t head = pending_.find("\r\n\r\n");
      const std::size_t field = pending_.find("Content-Length: ");
      if (head != std::string::npos && field != std::string::npos) {
        const std::size_t size = head + 4 + std::stoul(pending_.substr(field + 16));
        if (pending_.size() >= size) {
          std::string response = pending_.substr(0, size);
          pending_.erase(0, size);
          return response;
        }
      }
      char buffer[4096];
      const ssize_t n = ::recv(fd_, buffer, sizeof(buffer), 0);
      if (n <= 0) return {};
      pending_.append(buffer, static_cast<std::size_t>(n));
    }
  }

 private:
  int fd_ = -1;
  bool connected_ = false;
  std::string pending_;
};

inline std::size_t open_descriptors() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

/// Runs `fn` on a thread; the goroutine waits without holding up its M.
template <class F>
void on_a_thread(F fn) {
  std::atomic<bool> done{false};
  std::thread thread([&] {
    fn();
    done = true;
  });
  while (!done) sleep(1ms);
  thread.join();
}

inline const net::Address kAnyPort = *net::Address::parse("127.0.0.1:0");

/// Runs `clients(port)` on a thread against a server of `procs` Ps, then shuts it down and looks for leaks.
template <class F>
void with_server(int procs, F clients, const ServerOptions& options = {}, const Handler& handler = faces) {
  RunOptions run_options;
  run_options.procs = procs;
  run(
      [&] {
        const std::size_t before = open_descriptors();
        Server server(handler, options);
        const Result<net::Address> at = server.listen(kAnyPort);
        ASSERT_TRUE(at) << at.error().message();
        on_a_thread([&] { clients(at->port()); });
        EXPECT_TRUE(server.shutdown(20s));
        EXPECT_EQ(server.stats().open, 0u);
        // A descriptor's last close may wait for its home worker.
        for (int i = 0; i < 2000 && open_descriptors() > before; ++i) sleep(1ms);
        EXPECT_LE(open_descriptors(), before);
      },
      run_options);
}

}  // namespace heddle::http::test
