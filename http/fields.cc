#include <heddle/http/fields.h>

#include <algorithm>

namespace heddle::http {

Result<void> Fields::set(std::string_view name, std::string_view value) {
  if (!is_token(name) || !is_field_value(value)) return std::unexpected(Error{Code::kInvalid, 0, "header field"});
  const auto same = [&](const Field& f) { return equal_fold(f.name, name); };
  const auto first = std::ranges::find_if(fields_, same);
  if (first == fields_.end()) {
    fields_.emplace_back(std::string(name), std::string(value));
    return {};
  }
  first->value = value;
  fields_.erase(std::remove_if(first + 1, fields_.end(), same), fields_.end());
  return {};
}

Result<void> Fields::add(std::string_view name, std::string_view value) {
  if (!is_token(name) || !is_field_value(value)) return std::unexpected(Error{Code::kInvalid, 0, "header field"});
  fields_.emplace_back(std::string(name), std::string(value));
  return {};
}

void Fields::remove(std::string_view name) {
  std::erase_if(fields_, [&](const Field& f) { return equal_fold(f.name, name); });
}

std::optional<std::string_view> Fields::find(std::string_view name) const noexcept {
  for (const Field& f : fields_) {
    if (equal_fold(f.name, name)) return f.value;
  }
  return std::nullopt;
}

}  // namespace heddle::http
