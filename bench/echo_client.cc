// The load of bench/echo: connections that each send a message, wait until all of it has come back, and send the next.
//
//   echo_client --connect PORT [--connections N] [--active N] [--bytes N] [--seconds S]
//
//   --connect      a port on 127.0.0.1
//   --connections  default 64
//   --active       how many of them send, evenly spread among those that only are there; default: all
//   --bytes        of a message; default 64, at least 8
//   --seconds      default 5; the first connections have sent for half a second before it begins to count
//
// Prints one line of JSON: messages counted, seconds they took, and p50_us, p99_us, max_us of a message's round trip.
// Exit status: 0; 1 a connection failed, or what came back is not what was sent; 64 wrong usage.
//
// One thread, one epoll instance, a bare loop: it must be cheaper than what it measures. Every message carries its number
// and is compared whole.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>
#include <vector>

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kWarmUp = kSecond / 2;
constexpr int kEvents = 512;

struct Options {
  int port = 0;
  std::size_t connections = 64;
  std::size_t active = 0;  // 0: all
  std::size_t bytes = 64;
  int seconds = 5;
};

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "echo_client: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

std::int64_t now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

// Counts times in buckets that are a 32nd of their value wide.
class Histogram {
 public:
  void add(std::int64_t ns) {
    const auto v = static_cast<std::uint64_t>(ns);
    ++counts_[index(v)];
    ++total_;
    if (ns > max_) max_ = ns;
  }

  // The time, in microseconds, that the share `q` of all stays at or under.
  [[nodiscard]] double quantile(double q) const {
    auto left = static_cast<std::uint64_t>(q * static_cast<double>(total_));
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] > left) return static_cast<double>(value(i)) / 1000;
      left -= counts_[i];
    }
    return max_us();
  }

  [[nodiscard]] double max_us() const { return static_cast<double>(max_) / 1000; }
  [[nodiscard]] std::uint64_t total() const { return total_; }

 private:
  static constexpr unsigned kFine = 5;

  static std::size_t index(std::uint64_t v) {
    if (v < (1U << kFine)) return v;
    const unsigned shift = static_cast<unsigned>(std::bit_width(v)) - 1 - kFine;
    return (static_cast<std::size_t>(shift + 1) << kFine) + ((v >> shift) & ((1U << kFine) - 1));
  }
  static std::uint64_t value(std::size_t i) {
    const std::size_t octave = i >> kFine;
    const std::uint64_t rest = i & ((1U << kFine) - 1);
    return octave == 0 ? rest : ((std::uint64_t{1} << kFine) + rest) << (octave - 1);
  }

  std::array<std::uint64_t, 64U << kFine> counts_{};
  std::uint64_t total_ = 0;
  std::int64_t max_ = 0;
};

struct Connection {
  int fd = -1;
  std::uint64_t number = 0;  // of the message under way
  std::size_t come = 0;      // bytes of it that are back
  std::int64_t sent = 0;     // when it left
};

class Client {
 public:
  explicit Client(const Options& options)
      : options_(options),
        connections_(options.connections),
        message_(options.bytes),
        answer_(options.bytes),
        epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) die("epoll_create1");
    for (std::size_t i = 0; i < message_.size(); ++i) message_[i] = static_cast<char>(i * 131 % 251);
    for (Connection& c : connections_) connect(c);
  }

  int run() {
    const std::size_t active = options_.active == 0 ? connections_.size() : options_.active;
    for (std::size_t i = 0; i < active; ++i) send(connections_[i * connections_.size() / active]);
    begin_ = now() + kWarmUp;
    const std::int64_t end = begin_ + options_.seconds * kSecond;
    std::int64_t at = 0;
    while ((at = now()) < end) {
      epoll_event events[kEvents];
      const int n = epoll_wait(epoll_, events, kEvents, 1 + static_cast<int>((end - at) / 1'000'000));
      if (n < 0 && errno != EINTR) die("epoll_wait");
      for (int i = 0; i < n; ++i) receive(connections_[events[i].data.u64]);
    }
    std::printf("{\"messages\": %llu, \"seconds\": %.3f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.1f}\n",
                static_cast<unsigned long long>(times_.total()), static_cast<double>(at - begin_) / kSecond,
                times_.quantile(0.5), times_.quantile(0.99), times_.max_us());
    return 0;
  }

 private:
  void connect(Connection& c) {
    c.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c.fd < 0) die("socket");
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(options_.port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(c.fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) die("connect");
    const int on = 1;
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    // Ends with a reset: no port of ours stays taken for a minute, and the next load of 10,000 finds them free.
    const linger reset{.l_onoff = 1, .l_linger = 0};
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = static_cast<std::uint64_t>(&c - connections_.data());
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event) != 0) die("epoll_ctl");
  }

  void send(Connection& c) {
    ++c.number;
    c.come = 0;
    std::memcpy(message_.data(), &c.number, sizeof c.number);
    c.sent = now();
    for (std::size_t done = 0; done < message_.size();) {
      const ssize_t n = ::send(c.fd, message_.data() + done, message_.size() - done, MSG_NOSIGNAL);
      if (n < 0 && errno != EINTR) die("send");
      if (n > 0) done += static_cast<std::size_t>(n);
    }
  }

  void receive(Connection& c) {
    const ssize_t n = recv(c.fd, answer_.data(), message_.size() - c.come, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) die("recv");
    if (n == 0) wrong("the server closed a connection");
    std::memcpy(message_.data(), &c.number, sizeof c.number);
    const auto size = static_cast<std::size_t>(n);
    if (std::memcmp(answer_.data(), message_.data() + c.come, size) != 0) wrong("what came back is not what was sent");
    c.come += size;
    if (c.come < message_.size()) return;
    const std::int64_t at = now();
    if (c.sent >= begin_) times_.add(at - c.sent);
    send(c);
  }

  [[noreturn]] static void wrong(const char* what) {
    std::fprintf(stderr, "echo_client: %s\n", what);
    std::exit(1);
  }

  const Options options_;
  std::vector<Connection> connections_;
  std::vector<char> message_;
  std::vector<char> answer_;
  const int epoll_;
  std::int64_t begin_ = 0;
  Histogram times_;
};

[[noreturn]] void usage() {
  std::fputs("usage: echo_client --connect PORT [--connections N] [--active N] [--bytes N] [--seconds S]\n", stderr);
  std::exit(64);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view flag = argv[i];
    char* end = nullptr;
    const long value = i + 1 < argc ? std::strtol(argv[i + 1], &end, 10) : 0;
    if (value < 1 || end == nullptr || *end != '\0') usage();
    const auto size = static_cast<std::size_t>(value);
    if (flag == "--connect") {
      options.port = static_cast<int>(value);
    } else if (flag == "--connections") {
      options.connections = size;
    } else if (flag == "--active") {
      options.active = size;
    } else if (flag == "--bytes" && size >= sizeof(std::uint64_t)) {
      options.bytes = size;
    } else if (flag == "--seconds") {
      options.seconds = static_cast<int>(value);
    } else {
      usage();
    }
  }
  if (options.port == 0 || options.active > options.connections) usage();
  return Client(options).run();
}
