// multipart/form-data: a form with files as a stream of parts, nothing of it kept. read_form.h keeps it all.
//
//   Result<MultipartReader> parts = MultipartReader::open(request);
//   while (parts && parts->next().value_or(false)) { … parts->name() … parts->read(buffer) … }
//
// The body is read by RFC 2046 s5.1.1, in its strict reading, since what two parsers cut at different places is how
// filters are passed by:
//
//   [preamble CRLF] --boundary *blank CRLF  fields CRLF CRLF  data
//              CRLF --boundary … CRLF --boundary-- *blank [CRLF epilogue]
//
// I1. Whatever stands behind CRLF "--" boundary ends the part: a line that goes on in any other way than above is an
//     error, not data. Lines end with CRLF alone; a part's fields are held to the grammar of a request's.
// I2. Data is given out only when it cannot be the beginning of a delimiter. So the window holds back at most a
//     delimiter's length, and where the reads of the body end makes no difference.
// I3. Every loop takes bytes off the window or reads more, and the body's end in any place but behind the last
//     delimiter is an error: so it cannot hang, and a cut form never looks whole.
// I4. An error stays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <heddle/core/error.h>

namespace heddle::http {

class Request;

/// Bounds what a form with files may cost. The body's length is bounded by ServerOptions::max_body.
struct MultipartLimits {
  std::size_t max_parts = 1000;
  std::size_t max_header_bytes = 8 * 1024;    ///< Of one part's fields.
  std::uint64_t max_part_bytes = 32 << 20;    ///< Of one part's data.
  std::size_t max_outside_bytes = 16 * 1024;  ///< In front of the first delimiter and behind the last one, each.
};

/// Takes a multipart/form-data body apart, in one pass.
class MultipartReader {
 public:
  /// As Request::read(): what a body is read by.
  using Source = std::function<Result<std::size_t>(std::span<std::byte>)>;

  /// Over the request's body, which must be multipart/form-data with one boundary.
  /// Errors: kUnsupported for another type, kProtocol for a boundary that is none. Lifetime: as the request.
  [[nodiscard]] static Result<MultipartReader> open(Request& request, const MultipartLimits& limits = {});

  /// Over any source. `boundary`: 1 to 70 characters of RFC 2046's, the last no blank; open() checks that.
  MultipartReader(Source source, std::string_view boundary, const MultipartLimits& limits = {});

  /// Goes on to the next part; what is unread of this one is skipped.
  ///
  /// Returns: false after the last one, when the body has been read to its end.
  /// Errors:  kProtocol for what breaks the grammar (I1), a part without Content-Disposition: form-data with a name, a
  ///          parameter or a field twice, or a body that ends too early; kUnsupported for a Content-Transfer-Encoding
  ///          that encodes (RFC 7578 s4.7); kLimit past a limit; those of the source.
  [[nodiscard]] Result<bool> next();

  /// Reads the part's data; 0 at its end. Errors: as next(); kLimit past max_part_bytes.
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf);

  /// The part's name, as it came: browsers write '"' as %22 and line ends as %0D %0A, which nobody decodes.
  [[nodiscard]] const std::string& name() const noexcept { return part_.name; }
  /// The file's name without folders in front, of either kind of slash, and empty for "." and ".."; all else is as the
  /// client says. Nothing if the part has none: a field. `filename*` is ignored (RFC 7578 s4.2).
  [[nodiscard]] const std::optional<std::string>& filename() const noexcept { return part_.filename; }
  /// The part's Content-Type; empty if it has none, which means text/plain.
  [[nodiscard]] std::string_view content_type() const noexcept { return header("Content-Type").value_or(""); }
  /// The part's first field of that name, in any case. Lifetime: until next().
  [[nodiscard]] std::optional<std::string_view> header(std::string_view field) const noexcept;

 private:
  struct Part {
    std::string name;
    std::optional<std::string> filename;
    std::vector<std::pair<std::string, std::string>> fields;
    std::uint64_t size = 0;  // of the data so far
  };
  // kPreamble, kData --delimiter--> kDelimiter --next()--> kData | kEnded; an error: kFailed
  enum class State : std::uint8_t { kPreamble, kData, kDelimiter, kEnded, kFailed };

  Result<bool> advance();
  Result<void> skip_data();
  Result<void> skip_epilogue();
  Result<std::size_t> take(std::span<std::byte> to);
  Result<void> read_fields();
  Result<void> check_fields();
  Result<void> read_disposition(std::string_view value);
  Result<std::string_view> line(std::size_t limit);
  Result<bool> fill();
  std::unexpected<Error> fail(const Error& error);
  [[nodiscard]] std::string_view window() const noexcept { return {buffer_.get() + begin_, end_ - begin_}; }

  Source source_;
  std::string delimiter_;  // CRLF "--" boundary
  MultipartLimits limits_;
  std::size_t capacity_;
  std::unique_ptr<char[]> buffer_;
  std::size_t begin_ = 0;  // the window, in buffer_
  std::size_t end_ = 0;
  std::size_t clear_ = 0;  // bytes at the window's front that are known to be data
  State state_ = State::kPreamble;
  Error error_;
  std::size_t parts_ = 0;
  Part part_;
};

}  // namespace heddle::http
