// SplitPath: a request's path as the router sees it: segments, decoded each for itself.
//
//   /a%20b//c/../d/   segments "a b" "d", slash; not clean: clean() is "/a%20b/d/"
//
// A segment is decoded after the path is split, so that an escaped slash is a part of a segment, never a boundary.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::http {

/// Some string_views; uninitialized, for most of them are never set.
template <std::size_t kSize>
class Views {
 public:
  void set(std::size_t i, std::string_view text) noexcept { all_[i] = {text.data(), text.size()}; }
  [[nodiscard]] std::string_view operator[](std::size_t i) const noexcept { return {all_[i].data, all_[i].size}; }

 private:
  struct View {
    const char* data;
    std::size_t size;
  };
  std::array<View, kSize> all_;
};

class SplitPath {
 public:
  /// `raw` is a target's path, still escaped: it begins with '/' and its escapes are whole (target.h). It must outlive
  /// this. Throws std::bad_alloc.
  explicit SplitPath(std::string_view raw);
  SplitPath(const SplitPath&) = delete;
  SplitPath& operator=(const SplitPath&) = delete;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::string_view operator[](std::size_t i) const noexcept {
    return i < kFew ? few_[i] : more_[i - kFew];
  }
  /// The path ends in a slash, which is not among the segments.
  [[nodiscard]] bool slash() const noexcept { return slash_; }

  /// From segment `i` to the end, with the slashes between; empty if there is none.
  [[nodiscard]] std::string_view from(std::size_t i) const noexcept;

  /// False: it has empty or dot segments.
  [[nodiscard]] bool is_clean() const noexcept { return clean_; }
  /// The path without empty and dot segments (RFC 3986 s5.2.4), escaped; what a browser could take for something else is,
  /// too. Throws std::bad_alloc.
  [[nodiscard]] std::string cleaned() const;

 private:
  static constexpr std::size_t kFew = 16;
  void add(std::string_view segment);

  std::string_view raw_;
  std::string_view text_;  // decoded: what the segments are views of
  std::string decoded_;    // its memory, if it is not raw_
  Views<kFew> few_;
  std::vector<std::string_view> more_;
  std::size_t size_ = 0;
  bool slash_ = false;
  bool clean_ = true;
};

}  // namespace heddle::http
