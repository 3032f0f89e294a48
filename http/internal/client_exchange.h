// ClientExchange: one request on one connection, from the writing of its head to the end of the response's body.
//
//     start()                              read() … 0                      the connection
//     head written, body under way   -->   body, as it comes   -->  kept     both messages whole, nothing surplus, nobody objects
//     response's head read                                          closed   anything else
//
// I1. The connection goes back to the pool in one place, settle(): the response is whole, the server means to go on, the
//     request was sent to its end, no byte is unread. A server that answers before it has the whole request is not used again.
// I2. Any error ends the exchange and closes the connection; it stays the exchange's answer.
// I3. A response head that did not come, on a connection that was used before and without a single byte of an answer, is
//     told apart (Start::kStale): the server may have closed it while it was idle.
// I4. A 408 with Connection: close that comes first on such a connection is no answer to a request that went in one piece
//     (Start::kUnheard): the server gave up waiting for one, and the two crossed on the way. It has got no whole request (RFC
//     9110 s15.5.9), so it may be repeated whatever its method (s9.2.2: "means to detect that the original request was never
//     applied"). Where a body follows in pieces, the 408 may be about that: then, or if the body cannot be sent again, it is
//     the answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/http/client_options.h>
#include <heddle/http/client_request.h>
#include <heddle/http/internal/client_pool.h>
#include <heddle/http/internal/response_parser.h>
#include <heddle/http/internal/upload.h>

namespace heddle::http {

class ClientExchange final : public net::Reader {
 public:
  enum class Start : std::uint8_t { kAnswered, kStale, kUnheard, kFailed };

  /// `options` are the client's, and outlive start() and wait_for_source(); nothing else uses them but what is copied here.
  ClientExchange(ClientPool::Lease lease, Context ctx, const ClientOptions& options);
  ~ClientExchange() override;
  ClientExchange(const ClientExchange&) = delete;
  ClientExchange& operator=(const ClientExchange&) = delete;

  /// Sends `head` and the request's body, and reads the response's head; parks. `wait_to_continue`: the head says Expect.
  [[nodiscard]] Start start(const ClientRequest& request, std::string head, bool wait_to_continue);

  /// Why start() failed.
  [[nodiscard]] Error error() const noexcept { return error_; }
  /// After kStale, kUnheard or close(): waits until nobody reads the body's source any more, so that it may be opened anew; parks. Errors:
  /// the context's code; kTimeout past header_timeout: the source may be waiting for what the user does with the response.
  [[nodiscard]] Result<void> wait_for_source();
  /// Gives the lease back that start() did not use up (kStale, kUnheard), without its connection.
  [[nodiscard]] ClientPool::Lease take_lease();

  // ---- the response, after kAnswered ----

  [[nodiscard]] const ResponseHead& head() const noexcept { return head_; }
  [[nodiscard]] ResponseHead& head() noexcept { return head_; }
  /// The head's bytes, which head() refers to.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] HeaderList trailers() const noexcept { return body_.done() ? body_.trailers() : HeaderList(); }

  /// Body bytes; 0 only at its end, whole. Errors: they stay (I2).
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override;

  /// Reads at most `most` bytes of the rest, for a short time, so that the connection can be kept; else closes it. Parks.
  /// Who reads then gets kClosed, unless all had been read.
  void close(std::size_t most);

  /// What is behind the head of a 101: the connection, and the bytes that came with the head.
  struct Raw {
    std::unique_ptr<net::Transport> transport;
    std::string early;
  };
  [[nodiscard]] Result<Raw> take_raw();

 private:
  enum class Wait : std::uint8_t { kHead, kContinue };
  enum class Found : std::uint8_t { kFinal, kContinue, kLate };

  [[nodiscard]] Result<void> write_request(const ClientRequest& request, std::string& head, bool wait_to_continue);
  [[nodiscard]] Result<Found> read_head(Wait wait);
  [[nodiscard]] Error why(Error reading);
  [[nodiscard]] bool sent_whole();
  void settle();
  void abandon() noexcept;
  [[nodiscard]] Result<std::size_t> fail(Error error) noexcept;

  ClientPool::Lease lease_;
  std::shared_ptr<ClientConn> conn_;  // null once it is kept, closed or taken
  const Context ctx_;
  const ClientOptions& options_;  // for start() and wait_for_source()
  const ResponseLimits limits_;
  const Duration body_timeout_;
  std::shared_ptr<const ClientTrace> trace_;
  std::shared_ptr<Upload> upload_;  // null: the body was sent, or there is none
  Error write_error_{};             // of what start() wrote itself
  Error error_{};
  Method method_ = Method::kGet;
  bool wants_close_ = false;
  bool wants_upgrade_ = false;
  bool body_withheld_ = false;  // the final status came before the body was due
  bool byte_came_ = false;
  int informational_ = 0;
  ResponseHead head_;
  std::string text_;
  BodyReader body_;
};

}  // namespace heddle::http
