// Media types by file name: our table of what is common on the web, and a way to say otherwise.
//
// Our own table rather than the system's /etc/mime.types: an answer does not depend on the machine. Text types say
// charset=utf-8, for a browser would guess; so do scripts and styles. What is not known is application/octet-stream:
// with nosniff a browser then saves it instead of running it.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace heddle::http {

inline constexpr std::string_view kDefaultMediaType = "application/octet-stream";

/// The built-in type for a file name or path, by what follows its last dot, in any case: "text/html; charset=utf-8".
/// Empty if there is none.
[[nodiscard]] std::string_view media_type_of(std::string_view path) noexcept;

/// True for a type that compression makes smaller: text, JSON, XML, scripts, fonts that are not compressed themselves.
/// Parameters do not matter, nor does case.
[[nodiscard]] bool is_compressible(std::string_view media_type) noexcept;

/// The table with changes. Copies; setting ends before it is used by several.
class MediaTypes {
 public:
  /// `extension` without its dot, in any case; an empty type takes the built-in one away.
  /// Errors: throws std::bad_alloc.
  void set(std::string_view extension, std::string_view type);
  /// The type of what has none; an empty one: no Content-Type.
  void set_default(std::string_view type) { default_ = type; }

  /// The type for a file name or path. Lifetime: until the next set.
  [[nodiscard]] std::string_view of(std::string_view path) const;

 private:
  std::map<std::string, std::string, std::less<>> changes_;  // by extension in small letters
  std::string default_{kDefaultMediaType};
};

}  // namespace heddle::http
