// Forms as text: application/x-www-form-urlencoded, in bodies and in the query of a target.
//
//   const Result<FormValues> form = read_urlencoded(request);
//   if (!form) return w.status(status_for(form.error())), void();
//   const std::string_view name = form->find("name").value_or("");
//
// By the URL standard (url.spec.whatwg.org, s5): pairs stand between '&', '+' is a blank, all else is escaped. Stricter
// in one thing: an escape that is none ("%zz", "50%") is an error and not text, as it is in a target. ';' parts
// nothing, for what a proxy takes for one pair must not be two here.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/error.h>

namespace heddle::http {

class Request;

/// Bounds what a form may cost.
struct FormLimits {
  std::size_t max_bytes = 1 << 20;  ///< Of the text, as it came.
  std::size_t max_pairs = 1000;
};

/// Names and values, decoded, in the order they came. A name may occur several times. Bytes are as they came: nothing
/// says that they are UTF-8.
class FormValues {
 public:
  struct Pair {
    std::string name;
    std::string value;
  };

  /// The first value of that name.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const noexcept;
  /// All of them.
  [[nodiscard]] std::vector<std::string_view> all(std::string_view name) const;

  void add(std::string name, std::string value) { pairs_.push_back({std::move(name), std::move(value)}); }

  [[nodiscard]] std::size_t size() const noexcept { return pairs_.size(); }
  [[nodiscard]] bool empty() const noexcept { return pairs_.empty(); }
  [[nodiscard]] auto begin() const noexcept { return pairs_.begin(); }
  [[nodiscard]] auto end() const noexcept { return pairs_.end(); }

 private:
  std::vector<Pair> pairs_;
};

/// Parses "a=1&b=x+y". A pair without '=' has an empty value; empty pairs are none.
/// Errors: kProtocol for a broken escape, kLimit past a limit.
[[nodiscard]] Result<FormValues> parse_form(std::string_view text, const FormLimits& limits = {});

/// The reverse: letters, digits and "*-._" as they are, '+' for a blank, all else escaped.
[[nodiscard]] std::string encode_form(const FormValues& values);

/// The pairs in the request's query. Errors: as parse_form().
[[nodiscard]] Result<FormValues> query_values(const Request& request, const FormLimits& limits = {});

/// Reads a body of the type application/x-www-form-urlencoded.
/// Errors: kUnsupported for a body of another type, those of parse_form() and Request::read(). status_for() (status.h)
///         says what to answer.
[[nodiscard]] Result<FormValues> read_urlencoded(Request& request, const FormLimits& limits = {});

}  // namespace heddle::http
