// Socket to socket, through a pipe.
//
//     source's receive queue --splice--> pipe --splice--> target's send queue
//
// I1. A pipe is taken when the source may have something, and given back empty as soon as it has nothing: while a copy waits
//     for its source it holds none. One with bytes in it, whose target has failed, is closed.
// I2. The pipe is filled only when it is empty. So EAGAIN from the first splice means that the source is empty (it would say
//     the same of a full pipe), and the source is asked again before it is waited for: a splice that moved less than it
//     could says nothing.
// I3. The copy is inside a descriptor (fd_use.h) while it uses or waits for that one, and not while it waits for the other:
//     so whoever closes one of them ends it there and then.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>
#include <utility>

#include <heddle/core/pool.h>
#include <heddle/net/ends.h>
#include <heddle/net/internal/fd_use.h>
#include <heddle/net/internal/kernel_copy.h>
#include <heddle/net/internal/quietly.h>
#include <heddle/net/owned_fd.h>

namespace heddle::net {
namespace {

constexpr int kPipeSize = 256 << 10;  // what one piece may be; beyond, a system call's share of the cost is small
constexpr int kMostKept = 64;         // pipes; what a pool keeps that nobody uses any more is descriptors

constinit std::atomic<int> pipes_made{0};

struct SplicePipe {
  OwnedFd out;  // the end that is read
  OwnedFd in;
  std::size_t size = 0;

  SplicePipe() = default;
  SplicePipe(SplicePipe&& other) noexcept
      : out(std::move(other.out)), in(std::move(other.in)), size(std::exchange(other.size, 0)) {}
  SplicePipe& operator=(SplicePipe&&) = delete;
  ~SplicePipe() {
    // relaxed, as all uses of the count: it is a measure, and orders nothing.
    if (size > 0) pipes_made.fetch_sub(1, std::memory_order_relaxed);
  }
};

struct MakePipe {
  // size 0: there is none to be had.
  [[gnu::noinline]] SplicePipe operator()() const {
    SplicePipe pipe;
    int fds[2];
    if (::pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) return pipe;
    pipe.out = OwnedFd(fds[0]);
    pipe.in = OwnedFd(fds[1]);
    ::fcntl(fds[1], F_SETPIPE_SZ, kPipeSize);  // may be refused: pipe(7), "/proc/sys/fs/pipe-user-pages-soft"
    const int size = ::fcntl(fds[1], F_GETPIPE_SZ);
    if (size <= 0) return pipe;
    pipe.size = static_cast<std::size_t>(size);
    pipes_made.fetch_add(1, std::memory_order_relaxed);  // relaxed: as above
    return pipe;
  }
};

// Never destroyed: as the pools of buffers.
Pool<SplicePipe, MakePipe>& pipes() {
  static auto& it = *new Pool<SplicePipe, MakePipe>;
  return it;
}

// A pipe, as long as it is needed (I1).
class Lent {
 public:
  Lent() : pipe_(pipes().get()) {
    if (pipe_->size == 0) pipe_.discard();
  }
  ~Lent() {
    if (pipe_ && (left > 0 || pipes_made.load(std::memory_order_relaxed) > kMostKept)) pipe_.discard();
  }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;

  explicit operator bool() const noexcept { return static_cast<bool>(pipe_); }
  SplicePipe* operator->() const noexcept { return pipe_.get(); }

  std::size_t left = 0;  // bytes in it

 private:
  Pooled<SplicePipe> pipe_;
};

enum class Step : std::uint8_t {
  kMoved,   // there may be more
  kOver,    // the result says how it ended
  kCannot,  // the kernel does not do it; what is in the pipe is still there
};

Step failed_step(Copied& result, const Error& error, Copied::Side side) noexcept {
  static_cast<void>(copy_failed(result, error, side));
  return Step::kOver;
}

// Whether the next piece may be taken (copy.h I3).
bool target_takes(SocketTransport& to, Copied& result) noexcept {
  Inside writing(detail::HandleOf::get(to), FdUse::kWrite, "copy");
  const Error end = writing ? early_end(*writing, Mode::kWrite, nullptr, "write") : closed("write").error();
  if (end.code == Code::kOk) return true;
  static_cast<void>(copy_failed(result, end, Copied::Side::kWriting));
  return false;
}

Step wait_for_source(PollDesc& in, const Context& ctx, Copied& result) {
  const Error end = wait_for(in, Mode::kRead, &ctx, "read");
  if (end.code != Code::kOk) return failed_step(result, end, Copied::Side::kReading);
  in.drained = false;  // the report is consumed: the next one has to try
  return Step::kMoved;
}

// True if a read would find bytes now.
bool holds_bytes(int fd) noexcept {
  std::byte one;
  return sys().recv(fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

// Takes a piece into the pipe, or waits until there may be one: then the pipe is empty, or there is none.
Step take(const Context& ctx, SocketTransport& from, std::uint64_t most, Copied& result, std::optional<Lent>& pipe) {
  constexpr auto kSide = Copied::Side::kReading;
  Inside reading(detail::HandleOf::get(from), FdUse::kRead, "copy");
  if (!reading) return failed_step(result, closed("read").error(), kSide);
  PollDesc& in = *reading;
  const Error early = early_end(in, Mode::kRead, &ctx, "read");
  if (early.code != Code::kOk) return failed_step(result, early, kSide);
  // relaxed: as in receive() of socket_transport.cc, whose rule this is.
  if (in.drained && !in.in.looks_ready() && !in.uneven.load(std::memory_order_relaxed)) {
    pipe.reset();  // keeps I1
    return wait_for_source(in, ctx, result);
  }
  if (!pipe) pipe.emplace();
  if (!*pipe) return Step::kCannot;
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(most, (*pipe)->size));
  for (bool there = false;;) {
    const ssize_t n = sys().splice(in.fd, (*pipe)->in.get(), size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n == -EINTR) continue;
    in.drained = false;
    // Before an urgent byte splice(2) stops for good, and behind it lies more: a read gets over it. Bytes that were not there
    // when it was asked are something else: so it is asked again.
    if ((n == 0 || n == -EAGAIN) && holds_bytes(in.fd)) {
      if (there) return Step::kCannot;
      there = true;
      continue;
    }
    in.drained = n == -EAGAIN;
    if (n == -EAGAIN) {
      pipe.reset();  // keeps I1
      return wait_for_source(in, ctx, result);
    }
    if (n > 0) {
      pipe->left = static_cast<std::size_t>(n);
      return Step::kMoved;
    }
    if (in.lock.closing()) return failed_step(result, closed("read").error(), kSide);
    if (n == 0) return Step::kOver;  // the end of the stream
    if (kernel_cannot(n)) return Step::kCannot;
    return failed_step(result, failed(n, "read").error(), kSide);
  }
}

// Empties the pipe.
Step give(const Context& ctx, SocketTransport& to, Lent& pipe, Copied& result) {
  const auto lost = [&](const Error& error) {
    result.lost = pipe.left;
    return failed_step(result, error, Copied::Side::kWriting);
  };
  Inside writing(detail::HandleOf::get(to), FdUse::kWrite, "copy");
  if (!writing) return lost(closed("write").error());
  PollDesc& out = *writing;
  while (pipe.left > 0) {
    const ssize_t n = quietly(pipe.left, [&] {
      return sys().splice(pipe->out.get(), out.fd, pipe.left, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    });
    if (n > 0) {
      pipe.left -= static_cast<std::size_t>(n);
      result.bytes += static_cast<std::uint64_t>(n);
      continue;
    }
    if (n == -EINTR) continue;
    if (n == -EAGAIN) {
      const Error end = wait_for(out, Mode::kWrite, &ctx, "write");
      if (end.code != Code::kOk) return lost(end);
      continue;
    }
    if (out.lock.closing()) return lost(closed("write").error());
    if (n == 0 || kernel_cannot(n)) return Step::kCannot;
    return lost(failed(n, "write").error());
  }
  return Step::kMoved;
}

// Copies by splice as long as that works. kCannot: what is left is in `pipe`.
Step splice_all(const Context& ctx, SocketTransport& to, SocketTransport& from, std::uint64_t n, Copied& result,
                std::optional<Lent>& pipe) {
  const std::uint64_t goal = n > kAllBytes - result.bytes ? kAllBytes : result.bytes + n;
  while (result.bytes < goal) {
    if (!target_takes(to, result)) return Step::kOver;
    Step step = take(ctx, from, goal - result.bytes, result, pipe);
    if (step == Step::kMoved && pipe) step = give(ctx, to, *pipe, result);
    if (step != Step::kMoved) return step;
  }
  return Step::kOver;
}

[[gnu::noinline]] ssize_t read_some(int fd, std::byte* data, std::size_t size) noexcept {
  for (;;) {
    const ssize_t n = ::read(fd, data, size);
    if (n >= 0) return n;
    if (errno != EINTR) return -errno;
  }
}

// The target does not take what is in the pipe by splice: writes it.
KernelCopy write_out(const Context& ctx, SocketTransport& to, Lent& pipe, Copied& result) {
  while (pipe.left > 0) {
    Buffer buffer = Buffer::take(BufferSize::k64K);
    const ssize_t n = read_some(pipe->out.get(), buffer.data(), std::min(pipe.left, capacity_of(BufferSize::k64K)));
    if (n <= 0) {
      result.lost = pipe.left;
      return copy_failed(result, Error::from_errno(n == 0 ? EIO : static_cast<int>(-n), "read"),
                         Copied::Side::kReading);
    }
    const auto size = static_cast<std::size_t>(n);
    const Result<void> written = to.write(ctx, {buffer.data(), size});
    if (!written) {
      result.lost = pipe.left;
      pipe.left -= size;
      return copy_failed(result, written.error(), Copied::Side::kWriting);
    }
    pipe.left -= size;
    result.bytes += size;
  }
  return KernelCopy::kCannot;
}

}  // namespace

bool kernel_cannot(ssize_t status) noexcept {
  switch (status) {
    case -EINVAL:
    case -ENOSYS:
    case -EOPNOTSUPP:
    case -EPERM:  // a seccomp filter
      return true;
    default: return false;
  }
}

bool kernel_copies(const Writer& to, const Reader& from) noexcept {
  return dynamic_cast<const SocketTransport*>(&to) != nullptr &&
         (dynamic_cast<const SocketTransport*>(&from) != nullptr || dynamic_cast<const File*>(&from) != nullptr);
}

KernelCopy splice_copy(const Context& ctx, SocketTransport& to, SocketTransport& from, std::uint64_t n,
                       Copied& result) {
  std::optional<Lent> pipe;
  switch (splice_all(ctx, to, from, n, result, pipe)) {
    case Step::kMoved:
    case Step::kOver: return KernelCopy::kOver;
    case Step::kCannot: break;
  }
  return pipe && *pipe ? write_out(ctx, to, *pipe, result) : KernelCopy::kCannot;
}

int splice_pipes() noexcept { return pipes_made.load(std::memory_order_relaxed); }

void trim_splice_pipes() noexcept {
  pipes().trim();
  pipes().trim();  // pool.h: two empty it
}

}  // namespace heddle::net
