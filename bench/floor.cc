// The floor: what an HTTP response costs with no framework at all, or an echo. bench/http and bench/echo measure everything
// against it.
//
//   floor [--listen HOST:PORT] [--closes | --echo]
//
//   --listen   default 127.0.0.1:0; prints `floor: listening on http://127.0.0.1:PORT` when ready
//   --closes   also looks for `Connection: close` in the heads, spelled so, and does what it says
//   --echo     no HTTP: sends back what comes
//
// One thread, one epoll instance, one recv and one send per batch of pipelined requests. It is a yardstick, not a server:
// it answers GET /plaintext and nothing else (404), reads a head as the bytes up to CR LF CR LF, ignores what the head
// says about the connection unless told not to, and expects no bodies. What it does, it does as a server must: heads may arrive in pieces,
// sends may be short, the Date is right, a connection is closed when its peer is done.
//
// Edge-triggered: level-triggered polling has the kernel look at every answered connection once more. So
//
// I1. A connection is read until the kernel has no more: a recv that fills less than it was offered has drained the
//     socket, and what comes later is a new edge. An end of stream that is already there when we look is no new edge; it
//     shows as EPOLLRDHUP, and then we read on until recv says 0.
// I2. A connection whose peer does not take the answers is not read (its Connection::unsent is not empty). The edge that
//     says "writable" resumes both.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t kReadSize = 32 * 1024;  // bytes offered to one recv
constexpr std::size_t kMaxHead = 8 * 1024;    // a longer head ends the connection
constexpr std::size_t kBatch = 256;           // answers that lie ready for one send
constexpr int kEvents = 512;                  // taken from one epoll_wait

constexpr std::string_view kRequestStart = "GET /plaintext ";
constexpr std::string_view kNotFound = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
constexpr std::string_view kClose = "\r\nConnection: close\r\n";

enum class Mode { kHttp, kHttpCloses, kEcho };

struct Connection {
  std::string head;    // the start of a head whose rest has not come
  std::string unsent;  // answers that the peer has not taken
};

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "floor: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

// kBatch copies of today's answer, one after the other: any number of answers up to kBatch is one send from here.
class Answers {
 public:
  void refresh() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == second_) return;
    second_ = now.tv_sec;
    tm utc{};
    gmtime_r(&now.tv_sec, &utc);
    char one[256];
    char date[64];
    std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    constexpr const char* kAnswer =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nDate: %s\r\n%s\r\nHello, World!";
    size_ = static_cast<std::size_t>(std::snprintf(one, sizeof one, kAnswer, date, ""));
    copies_.clear();
    for (std::size_t i = 0; i < kBatch; ++i) copies_.append(one, size_);
    last_.assign(one, static_cast<std::size_t>(std::snprintf(one, sizeof one, kAnswer, date, "Connection: close\r\n")));
  }

  [[nodiscard]] std::string_view first(std::size_t n) const { return {copies_.data(), n * size_}; }
  [[nodiscard]] std::string_view last() const { return last_; }

 private:
  time_t second_ = 0;
  std::size_t size_ = 0;
  std::string copies_;
  std::string last_;  // the answer to one that asks to close
};

// The byte after the first CR LF CR LF in [p, end), or nullptr.
const char* end_of_head(const char* p, const char* end) {
#ifdef __SSE2__
  const __m128i cr = _mm_set1_epi8('\r');
  const __m128i lf = _mm_set1_epi8('\n');
  for (; end - p >= 19; p += 16) {
    const auto at = [p](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i)); };
    // Two of the four bytes tell nearly all places that do not match.
    const __m128i candidates = _mm_and_si128(_mm_cmpeq_epi8(at(1), lf), _mm_cmpeq_epi8(at(2), cr));
    for (int mask = _mm_movemask_epi8(candidates); mask != 0; mask &= mask - 1) {
      const char* q = p + __builtin_ctz(static_cast<unsigned>(mask));
      if (q[0] == '\r' && q[3] == '\n') return q + 4;
    }
  }
#endif
  const void* found = memmem(p, static_cast<std::size_t>(end - p), "\r\n\r\n", 4);
  return found == nullptr ? nullptr : static_cast<const char*>(found) + 4;
}

class Server {
 public:
  Server(int listener, Mode mode) : listener_(listener), mode_(mode), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) die("epoll_create1");
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = listener_;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) != 0) die("epoll_ctl");
  }

  [[noreturn]] void run() {
    epoll_event events[kEvents];
    for (;;) {
      const int n = epoll_wait(epoll_, events, kEvents, -1);
      if (n < 0 && errno != EINTR) die("epoll_wait");
      answers_.refresh();
      for (int i = 0; i < n; ++i) {
        const int fd = events[i].data.fd;
        if (fd == listener_) {
          accept_all();
        } else {
          serve(fd, (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
        }
      }
    }
  }

 private:
  void accept_all() {
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno != EAGAIN) std::perror("floor: accept");
        return;
      }
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      if (connections_.size() <= static_cast<std::size_t>(fd)) connections_.resize(static_cast<std::size_t>(fd) + 1);
      connections_[static_cast<std::size_t>(fd)] = std::make_unique<Connection>();
      epoll_event event{};
      // EPOLLOUT costs nothing here: an edge comes only after a send that found no room.
      event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
      event.data.fd = fd;
      if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
    }
  }

  void serve(int fd, bool ending) {
    Connection& c = *connections_[static_cast<std::size_t>(fd)];
    if (!c.unsent.empty()) {
      std::string unsent;
      unsent.swap(c.unsent);
      if (!send_all(fd, c, unsent)) return close_connection(fd);
    }
    while (c.unsent.empty()) {  // keeps I2
      const ssize_t n = recv(fd, buffer_, kReadSize, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) return close_connection(fd);
      const std::string_view bytes(buffer_, static_cast<std::size_t>(n));
      if (!(mode_ == Mode::kEcho ? send_all(fd, c, bytes) : answer(fd, c, bytes))) return close_connection(fd);
      if (static_cast<std::size_t>(n) < kReadSize && !ending) return;  // keeps I1
    }
  }

  // Answers every complete head in what was left over and `bytes`. False: close the connection.
  bool answer(int fd, Connection& c, std::string_view bytes) {
    std::string joined;
    if (!c.head.empty()) {
      joined.swap(c.head);
      joined.append(bytes);
      bytes = joined;
    }
    const char* p = bytes.data();
    const char* const end = p + bytes.size();
    std::size_t ready = 0;
    while (p != end) {
      const char* const next = end_of_head(p, end);
      if (next == nullptr) break;
      const std::string_view head(p, static_cast<std::size_t>(next - p));
      const bool known = head.starts_with(kRequestStart);
      p = next;
      if (mode_ == Mode::kHttpCloses && head.find(kClose) != head.npos) {
        static_cast<void>(send_all(fd, c, answers_.first(ready)) && send_all(fd, c, answers_.last()));
        return false;  // a socket's buffer has room for these few bytes
      }
      if (known && ++ready < kBatch) continue;
      if (!send_all(fd, c, answers_.first(ready))) return false;
      ready = 0;
      if (!known && !send_all(fd, c, kNotFound)) return false;
    }
    if (ready != 0 && !send_all(fd, c, answers_.first(ready))) return false;
    c.head.assign(p, end);
    return c.head.size() <= kMaxHead;
  }

  // Sends, or keeps in c.unsent what the peer does not take. False: the connection is lost.
  bool send_all(int fd, Connection& c, std::string_view bytes) {
    while (c.unsent.empty() && !bytes.empty()) {
      const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) break;
      if (n < 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    if (!bytes.empty()) c.unsent.append(bytes);
    return true;
  }

  void close_connection(int fd) {
    connections_[static_cast<std::size_t>(fd)].reset();
    close(fd);  // also takes it out of the epoll instance
  }

  const int listener_;
  const Mode mode_;
  const int epoll_;
  Answers answers_;
  std::vector<std::unique_ptr<Connection>> connections_;  // by descriptor
  char buffer_[kReadSize];
};

// A listening socket at "HOST:PORT" (numeric; IPv6 in brackets), and where it ended up.
int listen_at(std::string text, std::string* url) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) {
    std::fprintf(stderr, "floor: --listen wants HOST:PORT, not %s\n", text.c_str());
    std::exit(64);
  }
  std::string host = text.substr(0, colon);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int err = getaddrinfo(host.empty() ? nullptr : host.c_str(), text.c_str() + colon + 1, &hints, &found)) {
    std::fprintf(stderr, "floor: %s: %s\n", text.c_str(), gai_strerror(err));
    std::exit(64);
  }
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, found->ai_addr, found->ai_addrlen) != 0) die(text.c_str());
  if (listen(fd, 4096) != 0) die("listen");

  char name[NI_MAXHOST];
  char port[NI_MAXSERV];
  sockaddr_storage at{};
  socklen_t size = sizeof at;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) != 0) die("getsockname");
  getnameinfo(reinterpret_cast<sockaddr*>(&at), size, name, sizeof name, port, sizeof port,
              NI_NUMERICHOST | NI_NUMERICSERV);
  *url = at.ss_family == AF_INET6 ? "http://[" + std::string(name) + "]:" + port
                                  : "http://" + std::string(name) + ":" + port;
  freeaddrinfo(found);
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  std::string at = "127.0.0.1:0";
  Mode mode = Mode::kHttp;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--listen" && i + 1 < argc) {
      at = argv[++i];
    } else if (argument == "--closes") {
      mode = Mode::kHttpCloses;
    } else if (argument == "--echo") {
      mode = Mode::kEcho;
    } else {
      std::fprintf(stderr, "usage: floor [--listen HOST:PORT] [--closes | --echo]\n");
      return 64;
    }
  }
  std::string url;
  const auto server = std::make_unique<Server>(listen_at(at, &url), mode);
  std::printf("floor: listening on %s\n", url.c_str());
  std::fflush(stdout);
  server->run();
}
