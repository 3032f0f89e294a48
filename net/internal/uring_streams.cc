// How a ring reads streams: by a multishot receive, or bulky ones by a poll and recv(2) (uring_poller.h I7); and the doubts that
// the end of one was forgotten (I6).
#include <poll.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <heddle/net/internal/stream_conn.h>
#include <heddle/net/internal/uring_poller.h>

namespace heddle::net {
namespace {

constexpr std::int64_t kDoubtPause = 100'000'000;  // ns; I6

// The kernel's clock at its last tick, for a few ns; not a test's.
std::int64_t now_coarse() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

static_assert(StreamConn::kLargePiece == BufferRing::kSize, "what fills a buffer is large");

// What should be armed to read `stream`, which is not closing. Keeps I7.
std::uint8_t UringPoller::wanted_of(const StreamConn& stream) noexcept {
  if (!stream.bulky) return stream.reads() ? kOpRecv : kOpNone;
  if (stream.sink == nullptr || stream.ended || (stream.armed & kOpRecv) != 0) return kOpNone;
  // relaxed: the home's own.
  return stream.readable && stream.uneven.load(std::memory_order_relaxed) ? kOpNone : kOpPollIn;
}

// Reads what a poll has announced. Keeps I7.
void UringPoller::read_bulky(StreamConn& stream) noexcept {
  if (!stream.bulky || !stream.readable || (stream.armed & kOpRecv) != 0) return;
  stand_in_.serve(stream);
  // I6. One that is still readable is visited again, or is paused: then resume() has it visited, and to ask meanwhile would be to
  // ask for ever.
  if (!stream.readable) doubt(stream);
}

void UringPoller::on_readable(StreamConn& stream, int result, bool more) noexcept {
  if (dying_ || result == -ECANCELED) return;
  if (result < 0) {
    stream.forget_weight();  // the poll cannot be had (ENOMEM): a receive is armed next, and says what is wrong
  } else {
    // relaxed: of a stream the home alone reads it, too.
    if ((result & kUneven) != 0) stream.uneven.store(true, std::memory_order_relaxed);
    stream.readable = true;
  }
  if (more) update(stream);  // else complete() does
}

void UringPoller::on_received(StreamConn& stream, const io_uring_cqe& cqe) noexcept {
  if ((cqe.flags & IORING_CQE_F_BUFFER) != 0) {
    const unsigned id = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
    if (cqe.res > 0 && !dying_) stream.deliver(buffers_.bytes(id, static_cast<std::size_t>(cqe.res)));
    buffers_.give_back(id);
  }
  if (dying_) return;
  if (cqe.res > 0) {
    if ((cqe.flags & IORING_CQE_F_MORE) == 0) return;  // complete() looks what is wanted now
    doubt(stream);
    if (stream.bulky) arm_wanted(stream);
    return;
  }
  switch (-cqe.res) {
    case 0: stream.deliver_end({Code::kEof, 0, "read"}); break;
    case ENOBUFS:    // uring_buffers.h I1: update() arms again, behind the buffers given back in this turn
    case ECANCELED:  // called off: paused or closing
    case EINTR:
    case EAGAIN: break;
    default: stream.deliver_end(Error::from_errno(-cqe.res, "read"));
  }
}

void UringPoller::doubt(StreamConn& stream) noexcept {
  if (stream.doubted) return;
  if (doubt_count_ == doubts_.size()) static_cast<void>(settle_doubts());  // what it posts is served in the next turn
  if (doubt_count_ == doubts_.size()) return;  // all of them have ended, and the queue takes no request now
  if (doubt_count_ == 0) doubts_due_ = now_coarse() + kDoubtPause;
  stream.doubted = true;
  doubts_[doubt_count_++] = stream.tag(kOpRecv);
}

bool UringPoller::settle_doubts_if_due() noexcept {
  return doubt_count_ != 0 && now_coarse() >= doubts_due_ && settle_doubts();
}

std::int64_t UringPoller::until_doubts(std::int64_t timeout) const noexcept {
  if (doubt_count_ == 0) return timeout;
  const std::int64_t left = std::max<std::int64_t>(doubts_due_ - now_coarse(), kDoubtPause / 10);
  return timeout < 0 ? left : std::min(timeout, left);
}

// True if there is something in the inbox for it.
bool UringPoller::settle_doubts() noexcept {
  std::array<pollfd, 256> asked;
  std::size_t kept = 0;
  bool posted = false;
  for (std::size_t next = 0; next != doubt_count_;) {
    std::array<StreamConn*, asked.size()> streams;
    std::size_t n = 0;
    for (; n != asked.size() && next != doubt_count_; ++next) {
      auto& stream = static_cast<StreamConn&>(*PollDesc::from_tag(doubts_[next]));
      if (!stream.fits(doubts_[next])) continue;  // closed since: a stream is recycled at home, where we are
      const bool waits = (stream.armed & ~stream.canceling & (stream.bulky ? kOpPollIn : kOpRecv)) != 0;
      if (!waits || stream.lock.closing()) {
        stream.doubted = false;  // its last completion comes, or has come
        continue;
      }
      streams[n] = &stream;
      asked[n++] = {stream.fd, static_cast<short>(stream.bulky ? POLLIN | POLLRDHUP : POLLRDHUP), 0};
    }
    const bool told = n == 0 || ::poll(asked.data(), n, 0) >= 0;  // else (ENOMEM) they are asked again
    for (std::size_t i = 0; i < n; ++i) {
      StreamConn& stream = *streams[i];
      if (stream.bulky && told) {
        stream.doubted = false;
        if (asked[i].revents == 0) continue;
        if ((asked[i].revents & kUneven) != 0) stream.uneven.store(true, std::memory_order_relaxed);  // relaxed: ours
        stream.readable = posted = true;
        post(stream, kReqVisit);  // sinks are not called here
        continue;
      }
      // No room for the request: asked again.
      stream.doubted = !told || (asked[i].revents != 0 && !cancel(stream, kOpRecv));
      if (stream.doubted) doubts_[kept++] = stream.tag(kOpRecv);
    }
  }
  doubt_count_ = kept;
  doubts_due_ = now_coarse() + kDoubtPause;
  return posted;
}

}  // namespace heddle::net
