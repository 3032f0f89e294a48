// Fields: a list of header fields that owns its text, for what is built here and sent: a client's request.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/error.h>
#include <heddle/http/header.h>

namespace heddle::http {

/// Header fields in order. Names compare in any case. Nothing that could break a head ever gets in.
class Fields {
 public:
  struct Field {
    std::string name;
    std::string value;
  };

  /// Sets a field, in place of all of that name. Errors: kInvalid for a name that is no token, or a value with CR, LF, NUL,
  /// another control, or a blank at an end (RFC 9110 s5.5). The list is as it was then.
  Result<void> set(std::string_view name, std::string_view value);
  /// The same, beside those of that name.
  Result<void> add(std::string_view name, std::string_view value);
  /// Takes all fields of that name away.
  void remove(std::string_view name);

  /// The value of the first field of that name.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const noexcept;
  [[nodiscard]] bool contains(std::string_view name) const noexcept { return find(name).has_value(); }

  [[nodiscard]] auto begin() const noexcept { return fields_.begin(); }
  [[nodiscard]] auto end() const noexcept { return fields_.end(); }
  [[nodiscard]] std::size_t size() const noexcept { return fields_.size(); }
  [[nodiscard]] bool empty() const noexcept { return fields_.empty(); }

 private:
  std::vector<Field> fields_;
};

}  // namespace heddle::http
