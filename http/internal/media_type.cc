#include <heddle/http/internal/media_type.h>

#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>
#include <heddle/http/request.h>

namespace heddle::http {
namespace {

void skip_blanks(std::string_view& text) noexcept {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
}

std::string_view cut_token(std::string_view& text) noexcept {
  std::size_t size = 0;
  while (size < text.size() && chars::is(text[size], chars::kToken)) ++size;
  const std::string_view token = text.substr(0, size);
  text.remove_prefix(size);
  return token;
}

// Behind the first quote; false if there is no second one, or a control between them.
bool cut_quoted(std::string_view& text, std::string& value) {
  while (!text.empty()) {
    char c = text.front();
    text.remove_prefix(1);
    if (c == '"') return true;
    if (!chars::is(c, chars::kValue)) return false;
    if (c == '\\' && (text.starts_with('"') || text.starts_with('\\'))) {
      c = text.front();
      text.remove_prefix(1);
    }
    value += c;
  }
  return false;
}

}  // namespace

std::string_view cut_essence(std::string_view& value) noexcept {
  const std::size_t end = value.find(';');
  const std::string_view essence = trim_blanks(value.substr(0, end));
  value = end == std::string_view::npos ? std::string_view() : value.substr(end);
  return essence;
}

ParameterStatus next_parameter(std::string_view& rest, std::string_view& name, std::string& value) {
  for (;;) {
    skip_blanks(rest);
    if (rest.empty()) return ParameterStatus::kEnd;
    if (rest.front() != ';') return ParameterStatus::kBroken;
    rest.remove_prefix(1);
    skip_blanks(rest);
    if (!rest.empty() && rest.front() != ';') break;
  }
  name = cut_token(rest);
  if (name.empty() || !rest.starts_with('=')) return ParameterStatus::kBroken;
  rest.remove_prefix(1);
  value.clear();
  if (rest.starts_with('"')) {
    rest.remove_prefix(1);
    return cut_quoted(rest, value) ? ParameterStatus::kOne : ParameterStatus::kBroken;
  }
  value = cut_token(rest);
  return value.empty() ? ParameterStatus::kBroken : ParameterStatus::kOne;
}

std::optional<std::string_view> content_type(const Request& request) noexcept {
  return request.headers().find_only("Content-Type");
}

bool has_content_type(const Request& request, std::string_view essence) noexcept {
  std::optional<std::string_view> type = content_type(request);
  return type && equal_fold(cut_essence(*type), essence);
}

}  // namespace heddle::http
