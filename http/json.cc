#include <heddle/http/json.h>

#include <optional>

#include <heddle/http/header.h>
#include <heddle/http/internal/media_type.h>

namespace heddle::http {
namespace {

constexpr std::size_t kMaxMessage = 200;

// nlohmann's message, less the "[json.exception.parse_error.101] " in front. It quotes whole tokens of the client's.
std::string message_of(std::string_view what) {
  if (what.starts_with("[json.exception.")) {
    const std::size_t end = what.find("] ");
    if (end != std::string_view::npos) what.remove_prefix(end + 2);
  }
  std::string message(what.substr(0, kMaxMessage));
  for (char& c : message) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return message;
}

std::unexpected<JsonError> refuse(Code code, int status, std::size_t at, std::string_view message) {
  return std::unexpected(JsonError{{code, 0, "read json"}, status, at, message_of(message)});
}

// Where the depth passes `most`; nothing if it does not. Brackets in strings do not count. On text that is no JSON it
// may say anything: up to the place where it goes wrong it is right, and there the parser stops.
std::optional<std::size_t> find_too_deep(std::string_view text, std::size_t most) noexcept {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > most) return i;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return std::nullopt;
}

// application/json, or application/…+json (RFC 6839 s3.1).
bool is_json(const Request& request) noexcept {
  std::optional<std::string_view> type = content_type(request);
  if (!type) return false;
  std::string_view essence = cut_essence(*type);
  constexpr std::string_view kTree = "application/";
  constexpr std::string_view kSuffix = "+json";
  if (!equal_fold(essence.substr(0, kTree.size()), kTree)) return false;
  essence.remove_prefix(kTree.size());
  return equal_fold(essence, "json") ||
         (essence.size() > kSuffix.size() && equal_fold(essence.substr(essence.size() - kSuffix.size()), kSuffix));
}

}  // namespace

JsonResult<nlohmann::json> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) return refuse(Code::kLimit, kStatusContentTooLarge, 0, "too long");
  if (const auto at = find_too_deep(text, limits.max_depth))
    return refuse(Code::kLimit, kStatusBadRequest, *at, "nested too deeply");
  // The library would take it for the end, and leave unread what is behind. JSON has no NUL anywhere (RFC 8259 s7).
  if (const std::size_t at = text.find('\0'); at != std::string_view::npos)
    return refuse(Code::kProtocol, kStatusBadRequest, at, "a NUL");
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& e) {
    return refuse(Code::kProtocol, kStatusBadRequest, e.byte == 0 ? 0 : e.byte - 1, e.what());
  } catch (const nlohmann::json::exception& e) {  // a number beyond double
    return refuse(Code::kProtocol, kStatusBadRequest, 0, e.what());
  }
}

JsonResult<nlohmann::json> detail::read_json_value(Request& request, const JsonLimits& limits) {
  if (!is_json(request))
    return refuse(Code::kUnsupported, kStatusUnsupportedMediaType, 0, "the Content-Type is not JSON's");
  const Result<std::string> text = request.read_all(limits.max_bytes);
  if (!text) {
    const Error& error = text.error();
    return std::unexpected(JsonError{error, status_for(error), 0, message_of(error.message())});
  }
  return parse_json(*text, limits);
}

JsonError detail::json_mismatch(const char* what) { return refuse(Code::kInvalid, kStatusBadRequest, 0, what).error(); }

Result<void> write_json(ResponseWriter& writer, const nlohmann::json& value, int status) {
  const std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (const Result<void> set = writer.status(status); !set) return set;
  if (const Result<void> set = writer.set_header("Content-Type", "application/json"); !set) return set;
  return writer.write(text);
}

Result<void> answer_json_error(ResponseWriter& writer, const JsonError& error) {
  nlohmann::json body{{"error", error.message}};
  const bool placed = error.error.code == Code::kProtocol || error.error.code == Code::kLimit;
  if (placed && error.status == kStatusBadRequest) body["at"] = error.at;
  return write_json(writer, body, error.status);
}

}  // namespace heddle::http
