#include <heddle/http/test_conn.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <string>

#include <heddle/core/lock.h>

namespace heddle::http::test {

// What both ends share. A flow is named by the side that reads it.
struct TestLink {
  struct Flow {
    RawMutex lock{LockRank::kSync};
    // guarded by lock
    std::deque<std::uint64_t>
        ends;  // where the writes end that were not read whole, counted from the stream's first byte
    std::uint64_t written = 0;
    std::uint64_t read = 0;
  };

  // How many of `most` bytes the next read may take. One if nothing is there yet: the read may find the end of the stream, or
  // bytes that came a moment ago, of one write or of two.
  std::size_t allowed(int side, std::size_t most) noexcept {
    Flow& flow = flows[side];
    const LockGuard guard(flow.lock);
    if (flow.ends.empty()) return std::min<std::size_t>(most, 1);
    return static_cast<std::size_t>(std::min<std::uint64_t>(most, flow.ends.front() - flow.read));
  }
  void took(int side, std::size_t n) noexcept {
    Flow& flow = flows[side];
    const LockGuard guard(flow.lock);
    flow.read += n;
    while (!flow.ends.empty() && flow.ends.front() <= flow.read) flow.ends.pop_front();
  }
  void will_write(int side, std::size_t n) {
    Flow& flow = flows[side];
    const LockGuard guard(flow.lock);
    flow.written += n;
    flow.ends.push_back(flow.written);
  }

  Flow flows[2];
  std::atomic<bool> reset_by[2] = {false, false};
};

namespace {

Result<std::size_t> reads(net::MemoryConn& conn, const Context& ctx, std::span<std::byte> buf) {
  return conn.read(ctx, buf);
}

Result<std::size_t> tries(net::MemoryConn& conn, const Context& /*ctx*/, std::span<std::byte> buf) {
  return conn.try_read(buf);
}

}  // namespace

TestConn::TestConn(net::MemoryConn conn, std::shared_ptr<TestLink> link, int side) noexcept
    : conn_(std::move(conn)), link_(std::move(link)), side_(side) {}

TestConn::~TestConn() = default;

bool TestConn::was_reset() const noexcept {
  // acquire: pairs with the release in reset(). A call that the close behind it has ended sees the flag.
  return link_->reset_by[1 - side_].load(std::memory_order_acquire);
}

Error TestConn::reason(Error error) const noexcept {
  if (error.code != Code::kClosed && was_reset()) error.code = Code::kReset;
  return error;
}

// Keeps I1 and I2. A read that waits for the first byte of a write may have been given room for more than that write; so it
// waits first, and asks how much it may have when something is there.
Result<std::size_t> TestConn::read_by(Result<std::size_t> (*call)(net::MemoryConn&, const Context&,
                                                                  std::span<std::byte>),
                                      const Context& ctx, std::span<std::byte> buf) {
  if (was_reset() && conn_.local_address()) return std::unexpected(Error{Code::kReset, 0, "read"});
  if (call == &reads && !buf.empty()) {
    if (const Result<void> readable = conn_.wait_readable(ctx); !readable)
      return std::unexpected(reason(readable.error()));
  }
  const Result<std::size_t> n = call(conn_, ctx, buf.first(link_->allowed(side_, buf.size())));
  if (!n) return std::unexpected(reason(n.error()));
  if (*n == 0 && !buf.empty() && was_reset()) return std::unexpected(Error{Code::kReset, 0, "read"});
  link_->took(side_, *n);
  return n;
}

Result<std::size_t> TestConn::read(const Context& ctx, std::span<std::byte> buf) { return read_by(&reads, ctx, buf); }

Result<std::size_t> TestConn::try_read(std::span<std::byte> buf) { return read_by(&tries, {}, buf); }

Result<void> TestConn::wait_readable(const Context& ctx) {
  const Result<void> done = conn_.wait_readable(ctx);
  if (!done) return std::unexpected(reason(done.error()));
  return done;
}

Result<void> TestConn::write(const Context& ctx, std::span<const std::byte> buf) {
  if (!buf.empty()) link_->will_write(1 - side_, buf.size());
  const Result<void> written = conn_.write(ctx, buf);
  if (!written) return std::unexpected(reason(written.error()));
  return written;
}

Result<void> TestConn::writev(const Context& ctx, std::span<const iovec> buffers) {
  std::string all;
  for (const iovec& one : buffers) all.append(static_cast<const char*>(one.iov_base), one.iov_len);
  return write(ctx, bytes_of(all));
}

Result<void> TestConn::close_read() { return conn_.close_read(); }

bool TestConn::is_alive() const noexcept { return !was_reset() && conn_.is_alive(); }

void TestConn::reset() noexcept {
  // release: who finds the memory closed finds the flag; pairs with was_reset().
  link_->reset_by[side_].store(true, std::memory_order_release);
  conn_.close();
}

std::pair<std::unique_ptr<TestConn>, std::unique_ptr<TestConn>> conn_pair(const net::MemoryOptions& options) {
  auto [near, far] = net::memory_pair(options);
  const auto link = std::make_shared<TestLink>();
  return {std::make_unique<TestConn>(std::move(near), link, 0), std::make_unique<TestConn>(std::move(far), link, 1)};
}

}  // namespace heddle::http::test
