// ResponseWriter: how a handler answers.
//
// The handler sets status and fields, and writes. As long as what it writes fits in the connection's buffer nothing is
// sent, and the length is known when it returns: Content-Length. A body that outgrows the buffer, or a flush(), sends
// the head and goes on as a stream: chunked for HTTP/1.1, ended by the close for 1.0. The framing is the server's
// alone.
//
//              write              outgrows the buffer, flush()
//   kNothing ---------> kMeasured ---------------------------> kChunked | kUntilClose
//       |  \  write, Content-Length set by the handler
//       |   '-----------> kFixed
//       |--- 204, 304, 205 ---> kNoBody                    finish() ends each of them
//       '--- upgrade(), tunnel() ---> kTaken               the bytes are another protocol's, until the handler returns
//
// I1. A response is replaced by a 500 only while none of it has been committed (output.h); afterwards a failure is
//     shown by cutting the connection, never by an end that looks whole.
// I2. No byte of a field name or value reaches the wire unchecked, so no handler can split a response.
// I3. Trailers are sent behind a chunked body alone. They may be dropped on their way, the more so to a client that does not
//     say that it keeps them (TE: trailers, RFC 9110 s6.5.1); so they never decide framing, routing, or what a field of the
//     head means. Which are announced is settled with the head.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <heddle/core/error.h>
#include <heddle/http/header.h>

namespace heddle::net {
class Transport;
}

namespace heddle::http {

class BodyFilter;
class FileBody;
class Output;
class ServerConn;
enum class HalfClose : std::uint8_t;

/// Bytes of status line and fields that a response may have.
inline constexpr std::size_t kMaxResponseFields = 12 * 1024;
/// Bytes of trailers that a response may have.
inline constexpr std::size_t kMaxResponseTrailers = 4 * 1024;
/// Bytes of their names, where they are announced.
inline constexpr std::size_t kMaxTrailerNames = 512;

class ResponseWriter {
  // Without their first user there are none.
  struct Trailers {
    std::string names;  // announced: "A, B"
    std::string lines;  // set: "A: 1\r\nB: 2\r\n"
  };

 public:
  ResponseWriter(const ResponseWriter&) = delete;
  ResponseWriter& operator=(const ResponseWriter&) = delete;

  /// Sets the final status, 200 to 599; before the first write. Default: 200.
  /// Errors: kInvalid for another number, or after the head is fixed. Nothing changes then.
  Result<void> status(int code);

  /// Sets a field, in place of any of that name.
  ///
  /// Errors: kInvalid for a name that is no token, a value with CR, LF, NUL or another control, or after the head is
  ///         fixed; kUnsupported for what belongs to the server: Transfer-Encoding, Connection, Keep-Alive, Date,
  ///         Trailer, Upgrade; kLimit past kMaxResponseFields. The field is then left out: a caller who does not look
  ///         sends a safe response.
  /// A Content-Length (digits) is a promise: writing more is refused, less closes the connection, visibly cut.
  Result<void> set_header(std::string_view name, std::string_view value);
  /// The same, beside any of that name (Set-Cookie). Content-Length is never there twice.
  Result<void> add_header(std::string_view name, std::string_view value);
  /// Takes all fields of that name away, Content-Length too. Errors: kInvalid after the head is fixed.
  Result<void> remove_header(std::string_view name);

  /// The value of the field of that name, of several the `which`th from 0; nothing if there is none. Content-Length is not
  /// among them. Lifetime: until a field has been set or removed; it may be what the next one is set to.
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name, std::size_t which = 0) const noexcept;
  /// The Content-Length that was set.
  [[nodiscard]] std::optional<std::uint64_t> content_length() const noexcept;

  /// Sends an informational response at once, before the final one: 103 (Early Hints, RFC 8297) with Link fields, 102, 100
  /// to a client that waits for it. Any number of times; parks until the kernel has taken it.
  ///
  /// Errors: kInvalid for a status that is not 1xx, for 101, a field that set_header() would refuse so, or after the head is
  ///         fixed; kUnsupported for a client of HTTP/1.0, which knows none (RFC 9110 s15.2), and for fields that belong
  ///         to the server or tell a length; kLimit past kMaxResponseFields. Nothing is sent then, and the response goes on
  ///         as before. Else why the connection failed.
  Result<void> inform(int code, std::span<const HeaderField> fields = {});
  Result<void> inform(int code, std::initializer_list<HeaderField> fields) {
    return inform(code, std::span(fields.begin(), fields.size()));
  }

  /// Writes body bytes; the first write fixes status and fields. May park: while the peer takes nothing and the buffer
  /// is full. For HEAD the bytes are counted and not sent.
  ///
  /// Errors: kInvalid for a body where the status allows none, or past the Content-Length; else why the connection
  ///         failed (kTimeout past write_timeout, kReset, kClosed). A handler may ignore them: the server closes the
  ///         connection.
  Result<void> write(std::string_view bytes);
  Result<void> write(std::span<const std::byte> bytes) {
    return write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }

  /// Sends what was written so far, now. Parks until the kernel has taken it.
  Result<void> flush();

  /// Lets one goroutine read the request's body while another one writes the response: sends what was written so far, and from
  /// then on neither looks at the other's side. Both have ended when the handler returns. Without it one goroutine may read and
  /// write in turns, as it likes; but a client that sends all of its body before it reads may then wait for a handler that
  /// waits for it. A client that waits for 100 (Continue) is told to go on.
  ///
  /// Errors:  as flush(). Threads: the handler's goroutine, before there is another one.
  /// Source:  pkg.go.dev/net/http#ResponseController.EnableFullDuplex.
  Result<void> enable_full_duplex();
  /// True if this client says that it keeps trailers (TE: trailers). Others of HTTP/1.1 are sent them, too, and may drop them:
  /// most clients read them without saying so.
  [[nodiscard]] bool takes_trailers() const noexcept;
  /// Announces a trailer in the head (Trailer), whether or not it is set later. The body will be chunked, unless it has a
  /// Content-Length: such a response, or one without a body, leaves the trailers out.
  /// Errors: kInvalid for a name that is no token, or after the head is fixed; kUnsupported for a field that may not be a
  ///         trailer (RFC 9110 s6.5.1: of framing, routing, authentication, conditions, caching, the content's form), or
  ///         to HTTP/1.0; kLimit past kMaxTrailerNames. Nothing changes then.
  Result<void> declare_trailer(std::string_view name);
  /// Sets a trailer, in place of any of that name, at any time until the handler returns. Before the head is fixed it is
  /// announced too.
  /// Errors: as declare_trailer() but for the moment, and as set_header() for the value; kUnsupported also where the body
  ///         has begun without chunks; kLimit past kMaxResponseTrailers. It is left out then.
  Result<void> set_trailer(std::string_view name, std::string_view value);

  /// Status and fields of one moment, for rewind().
  class Mark {
    friend class ResponseWriter;
    std::string fields_;
    std::optional<Trailers> trailers_;
    std::uint64_t length_ = 0;
    int status_ = 0;
    bool status_set_ = false;
    bool length_set_ = false;
    bool started_ = false;
  };

  /// What is set so far. Throws std::bad_alloc.
  [[nodiscard]] Mark mark() const;
  /// Makes the response again what it was at `mark`, and forgets what was set and written since: for middleware that
  /// answers in a handler's place. close_connection() stays.
  /// Returns: false if some of it may be on its way to the client, or had been written by then. Nothing changes then.
  bool rewind(const Mark& mark);

  /// Answers 101 (Switching Protocols) and gives the connection to `protocol`, "websocket" for one: the client's bytes from
  /// those right behind its head on, and the way back to it. The fields that were set go with the 101; Connection and
  /// Upgrade are put there. Parks until the answer, and those of earlier requests, are sent.
  ///
  /// Returns: what to read and write by, as net/transport.h says, with deadlines of its own: no time-out of the server's
  ///          applies any more. It has no more than some 128 KiB read ahead; then the client is held back. When the
  ///          handler returns the connection is ended in order, in stages (RFC 9112 s9.6).
  ///          A client that ends its half is taken to leave: once that end has been read, or when nothing is left to be
  ///          read before it, Request::context() is cancelled, too. Past the grace of Server::shutdown() the connection
  ///          is cut, and its calls end with kClosed; Request::draining() tells of the beginning.
  /// Errors:  kInvalid if the request does not ask for it (HTTP/1.1, Connection: upgrade, the protocol among those of
  ///          Upgrade, in any case), has a body that is not read to its end, if the response has begun, or `protocol` is
  ///          not name[/version]: nothing has changed then, and the handler answers as it likes (require_upgrade()).
  ///          Else the connection has failed (kReset, kTimeout past write_timeout, kNoResources).
  /// Threads: the handler's goroutine. What it returns: one goroutine reads and one writes.
  /// Lifetime: until the handler returns. Calls of other goroutines that are under way then end with kClosed, and are waited
  ///          for; none may begin.
  /// Source:  RFC 9110 s7.8.
  [[nodiscard]] Result<net::Transport*> upgrade(std::string_view protocol);

  /// The same for CONNECT: answers 2xx (200 if nothing was set) without framing, and gives the bytes, for the handler to pass
  /// on to Request::host() and back. A client that ends its half here has no more to send, and may go on to receive: that
  /// is for the handler to read and pass on, and does not end Request::context(), before tunnel() either. Whatever else is answered to CONNECT
  /// ends the connection; a 2xx without tunnel() is made 501, so that the client never believes in a tunnel.
  ///
  /// Errors:  kInvalid for another method, a status that is not 2xx, or if the response has begun; else as upgrade().
  /// Source:  RFC 9110 s9.3.6.
  [[nodiscard]] Result<net::Transport*> tunnel();

  /// Ends the connection after this response, and says so in it if its head has not been sent yet (but for a body of an
  /// announced length that leaves no room in the buffer).
  void close_connection() noexcept { close_ = true; }

  /// Gives the response up where it is: the connection is closed without the end that a whole body has, so that the
  /// client sees that it is not whole (HTTP/1.0 has no such end: there it looks like one). What the client has not
  /// been sent yet it may not get. For a handler that finds that it cannot go on; throwing does the same, and tells of it.
  void cut() noexcept {
    cut_ = true;
    close_ = true;
  }

  /// True once status and fields can no longer change.
  [[nodiscard]] bool started() const noexcept;
  [[nodiscard]] int status() const noexcept { return status_; }

 private:
  friend class BodyFilter;
  friend class FileBody;
  friend class ServerConn;
  friend void require_upgrade(ResponseWriter& writer, std::string_view protocol);

  enum class Mode : std::uint8_t { kNothing, kMeasured, kFixed, kChunked, kUntilClose, kNoBody, kTaken };

  ResponseWriter(ServerConn& conn, Output& out, bool head_only, bool http10) noexcept
      : conn_(conn), out_(out), head_only_(head_only), http10_(http10) {}

  // ---- for the connection ----

  /// Ends the response; false if it is not whole. The connection goes on only if it is and must_close() is false.
  bool finish();
  /// Forgets a response that is not committed and answers `code` with its reason as text; false if it was too late.
  bool replace(int code);
  [[nodiscard]] bool must_close() const noexcept { return close_; }
  [[nodiscard]] bool untouched() const noexcept { return mode_ == Mode::kNothing && !status_set_; }

  // ---- for bodies out of files ----

  /// Writes `size` bytes of an open file, from `offset` on, as far as the kernel can send them by itself: not through a
  /// filter that wants them, not without an announced length. May park, as write().
  /// Returns: how many; the rest is for write(), which tells if the response has failed.
  std::uint64_t send_file(int file, std::uint64_t offset, std::uint64_t size);

  // ---- inside ----

  Result<void> put_field(std::string_view name, std::string_view value, bool replace_old);
  Result<void> put_length(std::string_view value);
  void remove_field(std::string_view name);
  [[nodiscard]] std::string_view fields() const noexcept;
  void put_fields(std::string_view all);
  Result<void> append_field(std::string_view name, std::string_view value);

  template <class Call>
  Result<void> through_filter(Call call);

  Result<net::Transport*> take_over(std::string_view tail, HalfClose half);
  bool begin(std::uint64_t guess);
  char* put_tail(char* to, Mode mode, std::uint64_t length) const noexcept;
  [[nodiscard]] std::size_t slack() const noexcept;
  [[nodiscard]] Result<void> check_trailer(std::string_view name) const noexcept;
  bool rewrite_tail(Mode mode, std::uint64_t length, std::string_view behind);
  bool to_stream();
  bool stream(std::string_view bytes);
  bool write_fixed(std::string_view bytes);
  [[nodiscard]] Result<void> failure(const char* op) const;
  void commit() noexcept;

  static constexpr std::uint32_t kInlineFields = 1024;

  ServerConn& conn_;
  Output& out_;
  const bool head_only_;
  const bool http10_;
  Mode mode_ = Mode::kNothing;
  bool status_set_ = false;
  bool length_set_ = false;
  bool close_ = false;
  bool said_close_ = false;  // close_, as the head has it
  bool cut_ = false;
  bool committed_ = false;  // some of it may be on the wire
  int status_ = 200;
  std::uint32_t tail_at_ = 0;      // in the current response: where its Connection and framing fields begin
  std::uint32_t body_at_ = 0;      // and its body
  std::uint64_t length_ = 0;       // kFixed: announced; kMeasured: what the head says until the end corrects it
  std::uint64_t written_ = 0;      // by the handler
  BodyFilter* filter_ = nullptr;   // the one that the next call meets; it and those outside of it live on the stack
  std::uint32_t fields_size_ = 0;  // in the inline array
  std::string more_fields_;        // all of them, once they outgrow it; then it does not count
  std::unique_ptr<Trailers> trailers_;
  char inline_fields_[kInlineFields];
};

/// Answers 426 (Upgrade Required): that this resource speaks `protocol` alone, for a request that did not ask for it.
/// Source: RFC 9110 s15.5.22.
void require_upgrade(ResponseWriter& writer, std::string_view protocol);

}  // namespace heddle::http
