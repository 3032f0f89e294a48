// JSON in requests and responses, over nlohmann::json.
//
//   const JsonResult<nlohmann::json> order = read_json(request);
//   if (!order) return static_cast<void>(answer_json_error(writer, order.error()));
//   write_json(writer, {{"id", order->value("id", 0)}});
//
// A program that includes this header brings nlohmann-json's own with it: Debian's nlohmann-json3-dev, of the release
// that heddle was built with (its types carry it in their names, so that the linker tells if not).
//
// I1. Text is held to RFC 8259 by the library: no comments, no NaN, UTF-8 checked, one value and nothing behind it. Of
//     equal names in one object the last one counts.
// I2. Length and depth are limited before anything is parsed: so a body of brackets costs a scan, and no code that
//     walks the value by recursion can be driven off its stack. A parsed value takes up to some 40 times its text.
// I3. What a client sends comes back as a JsonError, whatever is wrong with it; what is thrown here is std::bad_alloc,
//     and what a from_json() of the user's throws beside JSON's own errors and std::logic_error.
#pragma once

#include <cstddef>
#include <expected>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <heddle/core/error.h>
#include <heddle/http/request.h>
#include <heddle/http/response_writer.h>
#include <heddle/http/status.h>

namespace heddle::http {

/// Bounds what JSON from a client may cost.
struct JsonLimits {
  std::size_t max_bytes = 1 << 20;
  /// Of arrays and objects in each other. Whoever copies, compares or writes a value recurses as deep, on a goroutine's
  /// stack: more than some hundreds is for who knows what becomes of the value.
  std::size_t max_depth = 64;
};

/// Why there is no JSON.
struct JsonError {
  Error error;            ///< kProtocol: not JSON; kInvalid: not of the type asked for; kLimit; else what reading said.
  int status = 0;         ///< What to answer: 413 for too many bytes, 400 for what else is wrong with them; status_for().
  std::size_t at = 0;     ///< kProtocol, and kLimit for depth: the byte at which it shows, from 0; else 0.
  std::string message{};  ///< For people: at most 200 characters of printable ASCII. It may quote what was sent.
};

template <class T>
using JsonResult = std::expected<T, JsonError>;

/// Parses text. Errors: kProtocol, with the place; kLimit past a limit.
[[nodiscard]] JsonResult<nlohmann::json> parse_json(std::string_view text, const JsonLimits& limits = {});

namespace detail {
[[nodiscard]] JsonResult<nlohmann::json> read_json_value(Request& request, const JsonLimits& limits);
[[nodiscard]] JsonError json_mismatch(const char* what);
}  // namespace detail

/// Reads a body of the type application/json (or application/…+json), as a value, or as a T that nlohmann::json
/// converts to.
///
/// Errors: kUnsupported for a body of another type; those of Request::read(); kProtocol, with the place, for what is no
///         JSON; kInvalid for JSON that is no T: from_json() threw nlohmann's error or a std::logic_error; kLimit past
///         a limit.
template <class T = nlohmann::json>
[[nodiscard]] JsonResult<T> read_json(Request& request, const JsonLimits& limits = {}) {
  JsonResult<nlohmann::json> value = detail::read_json_value(request, limits);
  if constexpr (std::is_same_v<T, nlohmann::json>) {
    return value;
  } else {
    if (!value) return std::unexpected(std::move(value.error()));
    try {
      return value->template get<T>();
    } catch (const nlohmann::json::exception& e) {
      return std::unexpected(detail::json_mismatch(e.what()));
    } catch (const std::logic_error& e) {  // std::stoi(), std::map::at()
      return std::unexpected(detail::json_mismatch(e.what()));
    }
  }
}

/// Answers with `value` as application/json, on one line. Bytes in strings that are no UTF-8 become U+FFFD, numbers
/// that JSON has not become null. What was set as Content-Type before is replaced. Errors: as ResponseWriter's.
Result<void> write_json(ResponseWriter& writer, const nlohmann::json& value, int status = kStatusOk);

/// Answers with error.status and {"error": message}, and "at" where the error has a place. Errors: as ResponseWriter's.
Result<void> answer_json_error(ResponseWriter& writer, const JsonError& error);

}  // namespace heddle::http
