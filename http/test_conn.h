// TestConn: a connection in memory for tests of what speaks HTTP: it keeps the writer's splits, and can be reset.
//
//     auto [near, far] = http::test::conn_pair();
//     near->write(bytes_of("GET / HT"));     // the far end reads "GET / HT", and then
//     near->write(bytes_of("TP/1.1\r\n"));   // "TP/1.1\r\n": two reads, however late it comes to read
//     near->reset();                      // whatever it has not read is lost, as after a RST
//
// Over net::MemoryConn (net/memory.h), which has all the rest: deadlines, contexts, half-close, and waits that a test's
// bubble understands (core/test.h).
//
// I1. A read never returns bytes of two writes: the writer notes where each of its writes ends before the bytes can be seen,
//     and a read takes no more than up to the next such place.
// I2. A reset is noted before the memory is closed, and looked at before and after each call: so the peer's calls, those
//     that wait too, end with kReset, and never find the end of the stream instead.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/net/memory.h>
#include <heddle/net/transport.h>

namespace heddle::http::test {

struct TestLink;

/// One end. The destructor closes it. Threads: as net::Conn (tcp.h); reset() any.
class TestConn final : public net::Transport {
 public:
  /// By conn_pair().
  TestConn(net::MemoryConn conn, std::shared_ptr<TestLink> link, int side) noexcept;
  ~TestConn() override;

  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override { return read({}, buf); }
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf) override;
  [[nodiscard]] Result<std::size_t> try_read(std::span<std::byte> buf) override;
  [[nodiscard]] Result<void> wait_readable(const Context& ctx) override;
  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override { return write({}, buf); }
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf) override;
  using net::Transport::writev;
  /// All buffers as one write.
  [[nodiscard]] Result<void> writev(std::span<const iovec> buffers) override { return writev({}, buffers); }
  [[nodiscard]] Result<void> writev(const Context& ctx, std::span<const iovec> buffers) override;

  [[nodiscard]] Result<void> close_read() override;
  [[nodiscard]] Result<void> close_write() override { return conn_.close_write(); }
  void set_read_deadline(TimePoint when) noexcept override { conn_.set_read_deadline(when); }
  void set_write_deadline(TimePoint when) noexcept override { conn_.set_write_deadline(when); }
  [[nodiscard]] Result<net::Address> local_address() const override { return conn_.local_address(); }
  [[nodiscard]] Result<net::Address> remote_address() const override { return conn_.remote_address(); }
  [[nodiscard]] bool is_alive() const noexcept override;
  void close() noexcept override { conn_.close(); }

  /// Ends it as a RST does: the peer's reads and writes fail with kReset at once, and what it has not read is lost. Calls on
  /// this end get kClosed. Idempotent; never parks.
  void reset() noexcept;

 private:
  [[nodiscard]] Error reason(Error error) const noexcept;
  [[nodiscard]] bool was_reset() const noexcept;
  Result<std::size_t> read_by(Result<std::size_t> (*call)(net::MemoryConn&, const Context&, std::span<std::byte>),
                              const Context& ctx, std::span<std::byte> buf);

  net::MemoryConn conn_;
  const std::shared_ptr<TestLink> link_;
  const int side_;
};

/// Two connected ends. Errors: std::bad_alloc. Threads: any.
[[nodiscard]] std::pair<std::unique_ptr<TestConn>, std::unique_ptr<TestConn>> conn_pair(
    const net::MemoryOptions& options = {});

/// `text` as a Transport's calls want it. Lifetime: as the text.
[[nodiscard]] inline std::span<const std::byte> bytes_of(std::string_view text) noexcept {
  return std::as_bytes(std::span(text));
}

}  // namespace heddle::http::test
