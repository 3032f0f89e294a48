// Panic: what a Go program would panic with, as an exception.
//
// A broken rule of the language (a send on a closed channel, a double close) throws it in the goroutine that broke it.
// Uncaught, it leaves the goroutine, and that is the goroutine's entry's business: report and exit with status 2.
#pragma once

#include <exception>

namespace heddle {

/// A run-time panic with Go's text. Lifetime: the text is a string literal.
class Panic : public std::exception {
 public:
  explicit Panic(const char* text) noexcept : text_(text) {}
  [[nodiscard]] const char* what() const noexcept override { return text_; }

 private:
  const char* text_;
};

}  // namespace heddle
