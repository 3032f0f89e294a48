#include <heddle/http/header.h>

#include <heddle/http/internal/chars.h>

namespace heddle::http {

bool equal_fold(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && chars::lower(a[i]) != chars::lower(b[i])) return false;
  }
  return true;
}

bool is_token(std::string_view text) noexcept { return !text.empty() && chars::all(text, chars::kToken); }

bool is_field_value(std::string_view text) noexcept {
  if (text.empty()) return true;
  if (chars::is_blank(text.front()) || chars::is_blank(text.back())) return false;
  const char* const end = text.data() + text.size();
  return chars::skip_value(text.data(), end) == end;
}

std::string_view trim_blanks(std::string_view text) noexcept {
  while (!text.empty() && chars::is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && chars::is_blank(text.back())) text.remove_suffix(1);
  return text;
}

std::string_view next_element(std::string_view& rest) noexcept {
  const std::size_t comma = rest.find(',');
  const std::string_view element = rest.substr(0, comma);
  rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  return trim_blanks(element);
}

std::optional<std::string_view> HeaderList::find(std::string_view name) const noexcept {
  for (std::size_t i = 0; i < size_; ++i) {
    if (refs_[i].name_size != name.size()) continue;
    const HeaderField f = (*this)[i];
    if (equal_fold(f.name, name)) return f.value;
  }
  return std::nullopt;
}

std::optional<std::string_view> HeaderList::find_only(std::string_view name) const noexcept {
  std::optional<std::string_view> found;
  for (const HeaderField f : *this) {
    if (!equal_fold(f.name, name)) continue;
    if (found) return std::nullopt;
    found = f.value;
  }
  return found;
}

bool HeaderList::lists(std::string_view name, std::string_view element) const noexcept {
  for (const HeaderField f : *this) {
    if (!equal_fold(f.name, name)) continue;
    for (std::string_view rest = f.value; !rest.empty();) {
      if (equal_fold(next_element(rest), element)) return true;
    }
  }
  return false;
}

}  // namespace heddle::http
