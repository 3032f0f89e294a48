// The reading of a response: its head, which decides how long the body is, and the body's framing.
//
//     bytes --parse_response_head--> ResponseHead --BodyReader--> body bytes, trailers, the first byte behind
//
// A head is looked at as a whole, once its empty line is there: so what it means cannot depend on the calls that brought it,
// and a scan of lines is all it takes. llhttp, which reads requests, is not used: for responses it takes readings that a
// client of ours must refuse (any coding before the end, until the close), and stops at points of its own for HEAD and 1xx.
//
// I1. One reading or none. A response whose length can be read in two ways is kProtocol: Content-Length beside
//     Transfer-Encoding, twice, in a list, signed or too large; any coding but `chunked` once; a coding in HTTP/1.0.
// I2. Nothing is mended: CR and LF stand together at line ends and nowhere else; no folded line, no blank before a colon.
// I3. What is refused is refused at every split of the bytes, with the same error; and so early that a peer which speaks
//     something else is not waited for: the first bytes that cannot begin "HTTP/1." are enough.
// I4. All that the peer decides the size of has a limit: head, fields, framing of chunks, trailers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/error.h>
#include <heddle/http/header.h>
#include <heddle/http/method.h>

namespace heddle::http {

struct ResponseLimits {
  std::size_t max_head = 64 * 1024;     // bytes, from the status line to the empty line; also of all trailers
  std::size_t max_headers = 256;        // fields of a head, and of the trailers
  std::size_t max_framing = 16 * 1024;  // bytes of chunk extensions and trailers together
};

/// How a body's end is found (RFC 9112 s6.3).
enum class ResponseFraming : std::uint8_t {
  kNone,        // there is no body
  kFixed,       // Content-Length
  kChunked,     // Transfer-Encoding
  kUntilClose,  // neither: the end of the connection is its end
  kTunnel,      // 101, or 2xx to CONNECT: what follows is no HTTP
};

struct ResponseHead {
  int status = 0;
  int minor = 1;            // of HTTP/1.x
  bool keep_alive = false;  // the server means to, and the framing permits it
  ResponseFraming framing = ResponseFraming::kNone;
  std::uint64_t length = 0;  // kFixed: of the body
  bool has_length = false;   // there was a Content-Length; `announced` is its value, also for HEAD
  std::uint64_t announced = 0;
  std::uint32_t reason_at = 0;
  std::uint32_t reason_size = 0;
  std::vector<HeaderList::Ref> refs;  // into the head's bytes
};

/// Reads the head at the beginning of `bytes`. `method` is the request's. `seen` is for the caller to keep between calls
/// with more and more bytes of one head; 0 at first.
///
/// Returns: the size of the head; 0 if its end is not there yet.
/// Errors:  kProtocol, kLimit. Throws std::bad_alloc.
[[nodiscard]] Result<std::size_t> parse_response_head(std::string_view bytes, std::size_t& seen, Method method,
                                                      const ResponseLimits& limits, ResponseHead& head);

/// Takes a body out of what comes on the connection. Pure; the caller brings bytes and takes what they mean.
class BodyReader {
 public:
  struct Step {
    std::size_t consumed;
    std::size_t produced;
  };

  BodyReader() = default;
  BodyReader(const ResponseHead& head, const ResponseLimits& limits);

  /// True once the body is whole: the next byte belongs to something else.
  [[nodiscard]] bool done() const noexcept { return state_ == State::kDone; }

  /// Moves body bytes of `from` to `to`: stops at the end of either or of the body. Consumes something whenever neither is
  /// empty and the body is not done. Errors: kProtocol, kLimit; they stay. Throws std::bad_alloc (trailers).
  [[nodiscard]] Result<Step> take(std::span<const std::byte> from, std::span<std::byte> to);

  /// How many of the next bytes are the body's, whatever they are: they may be read into the caller's memory at once, if
  /// skip() is told.
  [[nodiscard]] std::uint64_t plain() const noexcept;
  void skip(std::uint64_t n) noexcept;

  /// The connection has ended. Errors: kEof if that cuts the body.
  [[nodiscard]] Result<void> end() noexcept;

  /// The trailers, once done(). Lifetime: as this object, while it is not moved.
  [[nodiscard]] HeaderList trailers() const noexcept {
    return {trailer_text_.data(), trailers_.data(), trailers_.size()};
  }

 private:
  enum class State : std::uint8_t {
    kDone,
    kFixed,
    kUntilClose,
    kSize,       // hex digits of a chunk's size
    kSizeBlank,  // blanks behind it, which only an extension may follow
    kExtension,
    kSizeLf,  // the LF of the size's line
    kData,
    kDataCr,
    kDataLf,
    kTrailer,  // lines up to the empty one
    kBroken,
  };

  [[nodiscard]] bool step_framing(char c);
  [[nodiscard]] bool trailer_byte(char c);
  [[nodiscard]] std::unexpected<Error> broken(Code code) noexcept;

  State state_ = State::kDone;
  Code why_ = Code::kProtocol;
  std::uint8_t digits_ = 0;    // kSize: how many there were; no more than a size can need are counted
  std::uint64_t left_ = 0;     // kFixed, kData: bytes to come; kSize: the size so far
  std::uint64_t framing_ = 0;  // bytes of extensions and trailers, and zeros in front of a size beyond what it can need
  ResponseLimits limits_;
  std::string trailer_text_;
  std::size_t trailer_line_ = 0;  // where the line that comes now begins
  std::vector<HeaderList::Ref> trailers_;
};

}  // namespace heddle::http
