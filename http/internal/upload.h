// Upload: the sending of one request's body, by a goroutine of its own, while the response may already come.
//
//     kRunning --last piece begins--> kLastPiece --written--> kSent
//         |                               |
//         '-----------------+-------------'
//                           v
//                        kFailed                  ended() is closed in kSent and kFailed
//
// Why a goroutine: a server may answer before it has read all, or read only as fast as its answer is taken; who first wrote
// all and then read would wait for ever.
//
// I1. The body never looks complete unless it is: a source that fails, or ends before its length, closes the connection.
// I2. After ended() is closed the upload does not touch the connection any more.
// I3. The response's clock starts when the request is sent. Who waits for the head announces it under lock_, and the upload
//     sets the deadline under lock_, if it is still waited for: so it cannot cut the body's reading short.
#pragma once

#include <memory>

#include <heddle/core/chan.h>
#include <heddle/core/context.h>
#include <heddle/core/mutex.h>
#include <heddle/http/client_options.h>
#include <heddle/http/client_request.h>
#include <heddle/http/internal/client_conn.h>

namespace heddle::http {

/// The moment that `d` from now is; kNoDeadline if d says "no limit".
[[nodiscard]] TimePoint deadline_after(Duration d) noexcept;

/// Writes `bytes` within `ctx`, each piece of at most 64 KiB within `timeout`.
[[nodiscard]] Result<void> write_within(ClientConn& conn, const Context& ctx, std::span<const std::byte> bytes,
                                        Duration timeout);

class Upload : public std::enable_shared_from_this<Upload> {
 public:
  enum class State : std::uint8_t { kRunning, kLastPiece, kSent, kFailed };

  Upload(std::shared_ptr<ClientConn> conn, Context ctx, RequestBody body, std::shared_ptr<const ClientTrace> trace,
         const ClientOptions& options)
      : conn_(std::move(conn)),
        ctx_(std::move(ctx)),
        body_(std::move(body)),
        trace_(std::move(trace)),
        write_timeout_(options.write_timeout),
        header_timeout_(options.header_timeout) {}

  /// Starts the goroutine.
  void start();

  /// Closed when it has ended.
  [[nodiscard]] const Chan<Done>& ended() const noexcept { return ended_; }
  [[nodiscard]] State state();
  /// Why it failed; kOk otherwise. `source` is told whether that was the body's own doing, not the connection's.
  [[nodiscard]] Error failure(bool* source);
  /// The head is there: no deadline of ours any more.
  void head_came();

 private:
  [[nodiscard]] Result<void> send();
  [[nodiscard]] Result<void> send_text(std::string_view text);
  [[nodiscard]] Result<void> send_fixed(net::Reader& reader, std::uint64_t length);
  [[nodiscard]] Result<void> send_chunked(net::Reader& reader);
  [[nodiscard]] Result<void> send_last_chunk();
  [[nodiscard]] Result<void> write(std::span<const std::byte> bytes, bool last);
  [[nodiscard]] std::unexpected<Error> source_failed(Error why);
  void finish(const Result<void>& sent);

  const std::shared_ptr<ClientConn> conn_;
  const Context ctx_;
  const RequestBody body_;
  const std::shared_ptr<const ClientTrace> trace_;
  const Duration write_timeout_;
  const Duration header_timeout_;
  const Chan<Done> ended_ = make_chan<Done>();
  Mutex lock_;
  // guarded by lock_
  State state_ = State::kRunning;
  bool head_awaited_ = true;
  bool source_failed_ = false;
  Error error_{};
};

}  // namespace heddle::http
