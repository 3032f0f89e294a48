// Header fields: how names compare, what a name or value may hold, and the list of a request's fields.
//
// A list is a view: three integers per field into the bytes of the head as they came, so that parsing a request copies
// and allocates nothing. Lists are short; a search is a scan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>

namespace heddle::http {

/// Equality of ASCII text without regard to case (RFC 9110 s5.1).
[[nodiscard]] bool equal_fold(std::string_view a, std::string_view b) noexcept;

/// True for a non-empty token: what a field name or a method may be (RFC 9110 s5.6.2).
[[nodiscard]] bool is_token(std::string_view text) noexcept;

/// True if `text` may be sent as a field value: no control but the tab, no blank at either end. Bytes 80-ff are data
/// (RFC 9110 s5.5).
[[nodiscard]] bool is_field_value(std::string_view text) noexcept;

/// `text` without the spaces and tabs at its ends.
[[nodiscard]] std::string_view trim_blanks(std::string_view text) noexcept;

/// Cuts the next element off a comma-separated list, trimmed; `rest` is what follows its comma. Elements may be empty.
[[nodiscard]] std::string_view next_element(std::string_view& rest) noexcept;

struct HeaderField {
  std::string_view name;
  std::string_view value;
};

/// The fields of one request in the order they came. Lifetime: as the Request it was taken from.
class HeaderList {
 public:
  /// Where a field lies, as offsets from the head's first byte.
  struct Ref {
    std::uint32_t name_at;
    std::uint32_t value_at;
    std::uint32_t value_size;
    std::uint32_t name_size;
  };

  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = HeaderField;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = HeaderField;

    Iterator() = default;
    Iterator(const char* base, const Ref* at) noexcept : base_(base), at_(at) {}
    HeaderField operator*() const noexcept { return field(base_, *at_); }
    Iterator& operator++() noexcept {
      ++at_;
      return *this;
    }
    Iterator operator++(int) noexcept {
      Iterator old = *this;
      ++at_;
      return old;
    }
    friend bool operator==(const Iterator& a, const Iterator& b) noexcept { return a.at_ == b.at_; }

   private:
    const char* base_ = nullptr;
    const Ref* at_ = nullptr;
  };

  HeaderList() = default;
  HeaderList(const char* base, const Ref* refs, std::size_t size) noexcept : base_(base), refs_(refs), size_(size) {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] HeaderField operator[](std::size_t i) const noexcept { return field(base_, refs_[i]); }
  [[nodiscard]] Iterator begin() const noexcept { return {base_, refs_}; }
  [[nodiscard]] Iterator end() const noexcept { return {base_, refs_ + size_}; }

  /// The value of the first field of that name, in any case; nothing if there is none (an empty value is a value).
  [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const noexcept;
  /// The same for a field that may be there once: nothing if there are several, for those have no one reading.
  [[nodiscard]] std::optional<std::string_view> find_only(std::string_view name) const noexcept;
  /// Whether the comma-separated list that all fields of that name make has `element`; both in any case (RFC 9110 s5.6.1).
  [[nodiscard]] bool lists(std::string_view name, std::string_view element) const noexcept;

 private:
  static HeaderField field(const char* base, const Ref& r) noexcept {
    return {{base + r.name_at, r.name_size}, {base + r.value_at, r.value_size}};
  }

  const char* base_ = nullptr;
  const Ref* refs_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace heddle::http
