// An echo on a bare io_uring(7) loop, in each of the ways in which a ring can receive and send: what bench/echo compares to
// choose a back end's way, beside the floor's epoll. net/README.md has the figures.
//
//   ring_echo [--listen HOST:PORT] [--receive poll|oneshot|multishot] [--send inline|batched]
//
//   --listen    default 127.0.0.1:0; IPv4; prints `ring_echo: listening on tcp://127.0.0.1:PORT` when ready
//   --receive   poll: a multishot poll for each connection, recv(2) when it fires. oneshot: a receive request into the
//               connection's own memory, armed again after each. multishot: a receive armed once, into buffers that the
//               ring picks from a common stock
//   --send      inline: send(2) at once. batched: a request, which goes to the kernel with the turn's others
//
// A yardstick, not a server. One thread, 16 KiB at a time; a peer that does not take its answers is waited for (inline);
// batched, a connection has one request to send at a time, which is right for a closed loop of messages that come in one
// piece, and for nothing else. Whatever goes wrong with a connection closes it.
#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t kSize = 16 * 1024;  // bytes of one receive
constexpr unsigned kEntries = 1024;
constexpr unsigned kCompletions = 32 * 1024;
constexpr unsigned kStock = 1024;  // the ring's buffers
constexpr int kGroup = 1;

enum class Receive { kPoll, kOneShot, kMultishot };
enum class Send { kInline, kBatched };
enum Op : std::uint64_t { kAccept, kReceive, kSent, kCancel };

struct Connection {
  int fd = -1;
  std::unique_ptr<char[]> memory;  // what a request reads into, or sends
  unsigned stock = 0;  // the ring's buffer that a request sends
  bool over = false;
};

[[noreturn]] void die(const char* what, int error) {
  std::fprintf(stderr, "ring_echo: %s: %s\n", what, std::strerror(error));
  std::exit(1);
}

class Server {
 public:
  Server(int listener, Receive receive, Send send) : listener_(listener), receive_(receive), send_(send) {
    io_uring_params params{};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                   IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
    params.cq_entries = kCompletions;
    if (const int status = io_uring_queue_init_params(kEntries, &ring_, &params); status < 0) die("ring", -status);
    io_uring_register_ring_fd(&ring_);
    if (receive_ == Receive::kMultishot) {
      int status = 0;
      stock_ = io_uring_setup_buf_ring(&ring_, kStock, kGroup, 0, &status);
      if (stock_ == nullptr) die("buffers", -status);
      stock_memory_ = static_cast<char*>(
          mmap(nullptr, kStock * kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      if (stock_memory_ == MAP_FAILED) die("mmap", errno);
      for (unsigned i = 0; i < kStock; ++i) give_back(i);
    }
    request(kAccept, 0, [&](io_uring_sqe* one) {
      io_uring_prep_multishot_accept(one, listener_, nullptr, nullptr, SOCK_CLOEXEC);
    });
  }

  [[noreturn]] void run() {
    for (;;) {
      const int status = io_uring_submit_and_wait(&ring_, 1);
      if (status < 0 && status != -EINTR && status != -EBUSY) die("wait", -status);
      unsigned head = 0;
      unsigned count = 0;
      io_uring_cqe* cqe = nullptr;
      io_uring_for_each_cqe(&ring_, head, cqe) {
        ++count;
        handle(*cqe);
      }
      io_uring_cq_advance(&ring_, count);
    }
  }

 private:
  // prep_… clears user_data: so a request is filled in first, and named after.
  template <class Prepare>
  void request(Op op, std::size_t slot, Prepare prepare) {
    io_uring_sqe* one = io_uring_get_sqe(&ring_);
    if (one == nullptr) {
      io_uring_submit(&ring_);
      one = io_uring_get_sqe(&ring_);
    }
    if (one == nullptr) die("the queue of requests is full", EBUSY);
    prepare(one);
    one->user_data = (slot << 2) | op;
  }

  void handle(const io_uring_cqe& cqe) {
    const std::size_t slot = cqe.user_data >> 2;
    switch (static_cast<Op>(cqe.user_data & 3)) {
      case kAccept:
        if (cqe.res < 0) die("accept", -cqe.res);
        open(cqe.res);
        break;
      case kReceive: received(slot, cqe); break;
      case kSent: sent(slot, cqe.res); break;
      case kCancel: break;
    }
  }

  void open(int fd) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Connection& c = connections_.emplace_back();
    c.fd = fd;
    if (receive_ == Receive::kOneShot || (receive_ == Receive::kPoll && send_ == Send::kBatched)) {
      c.memory = std::make_unique_for_overwrite<char[]>(kSize);
    }
    arm(connections_.size() - 1);
  }

  void arm(std::size_t slot) {
    const Connection& c = connections_[slot];
    if (c.over) return;
    request(kReceive, slot, [&](io_uring_sqe* one) {
      switch (receive_) {
        case Receive::kPoll: io_uring_prep_poll_multishot(one, c.fd, POLLIN | POLLRDHUP); break;
        case Receive::kOneShot: io_uring_prep_recv(one, c.fd, c.memory.get(), kSize, 0); break;
        case Receive::kMultishot:
          io_uring_prep_recv_multishot(one, c.fd, nullptr, 0, 0);
          one->flags |= IOSQE_BUFFER_SELECT;
          one->buf_group = kGroup;
          break;
      }
    });
  }

  void received(std::size_t slot, const io_uring_cqe& cqe) {
    Connection& c = connections_[slot];
    const bool goes_on = (cqe.flags & IORING_CQE_F_MORE) != 0;
    if (c.over) {
      if ((cqe.flags & IORING_CQE_F_BUFFER) != 0) give_back(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
    } else if (receive_ == Receive::kPoll) {
      char* const to = c.memory ? c.memory.get() : scratch_;
      const ssize_t n = recv(c.fd, to, kSize, MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno != EAGAIN)) return close_connection(slot);
      if (n > 0) answer(slot, to, static_cast<std::size_t>(n));
      if (!goes_on) arm(slot);
    } else if (cqe.res == -ENOBUFS) {
      arm(slot);
    } else if (cqe.res <= 0) {
      close_connection(slot);
    } else if (receive_ == Receive::kOneShot) {
      answer(slot, c.memory.get(), static_cast<std::size_t>(cqe.res));
      if (send_ == Send::kInline) arm(slot);  // batched: when the memory is free again
    } else {
      c.stock = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
      answer(slot, stock_memory_ + c.stock * kSize, static_cast<std::size_t>(cqe.res));
      if (send_ == Send::kInline) give_back(c.stock);
      if (!goes_on) arm(slot);
    }
  }

  void answer(std::size_t slot, const char* bytes, std::size_t size) {
    Connection& c = connections_[slot];
    if (send_ == Send::kBatched) {
      return request(kSent, slot, [&](io_uring_sqe* one) {
        io_uring_prep_send(one, c.fd, bytes, size, MSG_WAITALL | MSG_NOSIGNAL);
      });
    }
    while (size != 0) {
      const ssize_t n = send(c.fd, bytes, size, MSG_NOSIGNAL);
      if (n < 0 && errno != EINTR) return close_connection(slot);
      if (n > 0) {
        bytes += n;
        size -= static_cast<std::size_t>(n);
      }
    }
  }

  void sent(std::size_t slot, int result) {
    const Connection& c = connections_[slot];
    if (receive_ == Receive::kMultishot) give_back(c.stock);
    if (result <= 0) return close_connection(slot);
    if (receive_ == Receive::kOneShot) arm(slot);
  }

  // What a request still holds of it completes and finds it over: slots are not used again.
  void close_connection(std::size_t slot) {
    Connection& c = connections_[slot];
    if (c.over) return;
    c.over = true;
    // By its name, which the kernel finds in a hash table: by its descriptor it would look through all that is armed.
    request(kCancel, 0, [&](io_uring_sqe* one) { io_uring_prep_cancel64(one, (slot << 2) | kReceive, 0); });
    io_uring_submit(&ring_);
    close(c.fd);
  }

  void give_back(unsigned id) {
    io_uring_buf_ring_add(stock_, stock_memory_ + id * kSize, kSize, static_cast<unsigned short>(id),
                          io_uring_buf_ring_mask(kStock), 0);
    io_uring_buf_ring_advance(stock_, 1);
  }

  const int listener_;
  const Receive receive_;
  const Send send_;
  io_uring ring_{};
  io_uring_buf_ring* stock_ = nullptr;
  char* stock_memory_ = nullptr;
  std::vector<Connection> connections_;
  char scratch_[kSize];
};

[[noreturn]] void usage() {
  std::fputs("usage: ring_echo [--listen HOST:PORT] [--receive poll|oneshot|multishot] [--send inline|batched]\n", stderr);
  std::exit(64);
}

// A listening socket at "HOST:PORT", and the port in use.
int listen_at(const std::string& text, int* port) {
  sockaddr_in at{};
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || inet_pton(AF_INET, text.substr(0, colon).c_str(), &at.sin_addr) != 1) usage();
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<std::uint16_t>(std::strtoul(text.c_str() + colon + 1, nullptr, 10)));
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  if (fd < 0) die("socket", errno);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  socklen_t size = sizeof at;
  if (bind(fd, reinterpret_cast<sockaddr*>(&at), size) != 0 || listen(fd, 4096) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) != 0) {
    die(text.c_str(), errno);
  }
  *port = ntohs(at.sin_port);
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  std::string at = "127.0.0.1:0";
  Receive receive = Receive::kPoll;
  Send send = Send::kInline;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view flag = argv[i];
    const std::string_view value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--listen" && !value.empty()) {
      at = value;
    } else if (flag == "--receive" && value == "poll") {
      receive = Receive::kPoll;
    } else if (flag == "--receive" && value == "oneshot") {
      receive = Receive::kOneShot;
    } else if (flag == "--receive" && value == "multishot") {
      receive = Receive::kMultishot;
    } else if (flag == "--send" && (value == "inline" || value == "batched")) {
      send = value == "inline" ? Send::kInline : Send::kBatched;
    } else {
      usage();
    }
  }
  int port = 0;
  const auto server = std::make_unique<Server>(listen_at(at, &port), receive, send);
  std::printf("ring_echo: listening on tcp://%s:%d\n", at.substr(0, at.rfind(':')).c_str(), port);
  std::fflush(stdout);
  server->run();
}
