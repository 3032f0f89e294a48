// panic: what a Go program would panic with, as an exception; and the value that a deferred call recovers (defer.h).
//
// A panic unwinds as a C++ exception. The alternative, Go's own, is to run the deferred calls on top of the stack that
// panicked and to unwind only once one has recovered: then a caller's deferred call would run while its callees' locals
// are alive, and would wait for ever for a lock that one of them holds. By unwinding, destructors and deferred calls of
// the functions on the way run in one order, from the innermost outwards. It also makes panics and exceptions one
// thing: an exception that leaves a function is a panic, and `catch (const Panic&)` is an ordinary handler.
//
// I1. A panic that nobody recovers or catches ends the process with status 2, after Go's kind of report, which shows
//     the stack at the place of the throw (internal/panics.h). All destructors and deferred calls of the goroutine run
//     before that.
// I2. A Panic and a PanicValue share what they hold, which never changes. So they are cheap to copy, and any goroutine
//     may read them.
//
// What is printed, as in Go: text as it is; numbers as Go's println has them; an error's text, that is what() or
// message(); an enumerator as `Colour(2)`; of anything else the type and where it lies, `(Point) 0x7f…`. An exception
// that was thrown and not given to panic() says its type as well: `std::runtime_error: out of luck`.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace heddle {

namespace detail {

/// What panic() was called with.
struct PanicBox {
  explicit PanicBox(std::string printed) noexcept : text(std::move(printed)) {}
  virtual ~PanicBox() = default;
  PanicBox(const PanicBox&) = delete;
  PanicBox& operator=(const PanicBox&) = delete;
  /// The value if it is of that type, or is an error and that type is std::exception; else null.
  [[nodiscard]] virtual const void* get(const std::type_info& type) const noexcept = 0;

  const std::string text;
};

template <class T>
struct PanicBoxOf final : PanicBox {
  template <class V>
  PanicBoxOf(std::string printed, V&& v) : PanicBox(std::move(printed)), value(std::forward<V>(v)) {}
  [[nodiscard]] const void* get(const std::type_info& type) const noexcept override {
    if (type == typeid(T)) return &value;
    if constexpr (std::derived_from<T, std::exception>) {
      if (type == typeid(std::exception)) return static_cast<const std::exception*>(&value);
    }
    return nullptr;
  }

  const T value;
};

[[nodiscard]] std::string panic_text(bool v);
[[nodiscard]] std::string panic_text(long long v);
[[nodiscard]] std::string panic_text(unsigned long long v);
[[nodiscard]] std::string panic_text(double v);
/// Of a named type: "Colour(2)".
[[nodiscard]] std::string panic_text(const std::type_info& type, const std::string& value);
/// Of a type that nothing is known of: "(Point) 0x7f…".
[[nodiscard]] std::string panic_text(const std::type_info& type, const void* where);

template <class T>
std::string panic_text_of(const T& v) {
  if constexpr (std::same_as<T, bool>) {
    return panic_text(v);
  } else if constexpr (std::signed_integral<T>) {
    return panic_text(static_cast<long long>(v));
  } else if constexpr (std::unsigned_integral<T> || std::same_as<T, char>) {
    return panic_text(static_cast<unsigned long long>(v));
  } else if constexpr (std::floating_point<T>) {
    return panic_text(static_cast<double>(v));
  } else if constexpr (std::is_enum_v<T>) {
    return panic_text(typeid(T), panic_text_of(static_cast<std::underlying_type_t<T>>(v)));
  } else if constexpr (std::derived_from<T, std::exception>) {
    return v.what();
  } else if constexpr (requires { { v.message() } -> std::convertible_to<std::string>; }) {
    return v.message();
  } else if constexpr (std::is_pointer_v<T> && !std::is_function_v<std::remove_pointer_t<T>>) {
    return panic_text(typeid(T), const_cast<const void*>(static_cast<const volatile void*>(v)));
  } else {
    return panic_text(typeid(T), static_cast<const void*>(std::addressof(v)));
  }
}

[[noreturn]] void throw_nil_panic();
[[noreturn]] void throw_again(const std::exception_ptr& exception);

}  // namespace detail

/// What panic() and broken rules of the language throw. Lifetime: copies share the value.
class Panic : public std::exception {
 public:
  /// A run-time panic with Go's text, a string literal.
  explicit Panic(const char* text) noexcept : text_(text) {}
  /// What panic() throws.
  explicit Panic(std::shared_ptr<const detail::PanicBox> box) noexcept
      : text_(box->text.c_str()), box_(std::move(box)) {}

  /// The value as the report prints it.
  [[nodiscard]] const char* what() const noexcept override { return text_; }

  /// What panic() was called with, if it was a T; null otherwise, and for run-time panics.
  ///
  /// Strings of all kinds are kept as std::string. An error is also to be had as std::exception.
  template <class T>
  [[nodiscard]] const T* as() const noexcept {
    return box_ == nullptr ? nullptr : static_cast<const T*>(box_->get(typeid(T)));
  }

 private:
  const char* text_;
  std::shared_ptr<const detail::PanicBox> box_;
};

/// What panic(nullptr) panics with: so a recovered panic is never mistaken for none.
class PanicNilError : public std::exception {
 public:
  [[nodiscard]] const char* what() const noexcept override { return "panic called with nil argument"; }
};

/// What a recovered panic was about. Lifetime: keeps the exception alive.
class PanicValue {
 public:
  /// `exception` as a panic's value; it must hold something.
  explicit PanicValue(std::exception_ptr exception) noexcept : exception_(std::move(exception)) {}

  /// The value if it is a T, else null: what panic() was called with, or the exception, by the rules of `catch (const
  /// T&)`.
  ///
  /// Lifetime: as this object's.
  template <class T>
  [[nodiscard]] const T* as() const noexcept {
    if (const void* thrown = object(typeid(T)); thrown != nullptr) return static_cast<const T*>(thrown);
    if (const void* p = object(typeid(Panic)); p != nullptr) {
      if (const T* value = static_cast<const Panic*>(p)->as<T>(); value != nullptr) return value;
    }
    if constexpr (std::is_class_v<T>) {  // it may be a base of what was thrown
      try {
        std::rethrow_exception(exception_);
      } catch (const T& e) {
        return std::addressof(e);  // of the exception itself, which exception_ keeps
      } catch (...) {  // it is not
      }
    }
    return nullptr;
  }

  /// As the report prints it, on one line or several.
  [[nodiscard]] std::string text() const;

  /// The exception that it unwound as; to be thrown again, by panic() or std::rethrow_exception(), here or elsewhere.
  [[nodiscard]] const std::exception_ptr& exception() const noexcept { return exception_; }

  /// The same panic, not an equal one.
  friend bool operator==(const PanicValue&, const PanicValue&) = default;

 private:
  /// The exception's object, if it is of exactly that type; else null.
  [[nodiscard]] const void* object(const std::type_info& type) const noexcept;

  std::exception_ptr exception_;
};

namespace detail {
/// Apart from panic(), whose frame then has nothing to destroy: unwinding stops at each frame that has, which costs some
/// 0.4 us (bench_core, panic_recover).
template <class V, class T>
[[gnu::noinline]] Panic make_panic(T&& value) {
  if constexpr (std::same_as<V, std::string>) {
    std::string text(static_cast<std::string_view>(value));
    return Panic(std::make_shared<PanicBoxOf<std::string>>(text, text));
  } else {
    return Panic(std::make_shared<PanicBoxOf<V>>(panic_text_of<V>(value), std::forward<T>(value)));
  }
}
}  // namespace detail

/// Panics with `value`: unwinds the goroutine until a deferred call recovers it (defer.h) or a handler catches it.
///
/// nullptr, also as a `const char*`, panics with a PanicNilError. A PanicValue or a std::exception_ptr panics again as
/// the exception that it is; a Panic is thrown as it is; all else is copied into a Panic.
///
/// Errors:  what copying `value` throws, instead.
/// Threads: any; off goroutines it is an exception like others.
template <class T>
[[noreturn, gnu::cold]] void panic(T&& value) {
  using V = std::decay_t<T>;
  if constexpr (std::same_as<V, PanicValue>) {
    detail::throw_again(value.exception());
  } else if constexpr (std::same_as<V, std::nullptr_t>) {
    detail::throw_nil_panic();
  } else if constexpr (std::same_as<V, std::exception_ptr>) {
    detail::throw_again(value);
  } else if constexpr (std::derived_from<V, Panic>) {
    throw V(std::forward<T>(value));
  } else if constexpr (std::convertible_to<const V&, std::string_view>) {
    if constexpr (std::is_pointer_v<std::remove_reference_t<T>>) {  // an array is never null
      if (value == nullptr) detail::throw_nil_panic();
    }
    throw detail::make_panic<std::string>(value);
  } else {
    static_assert(std::copy_constructible<V>, "a panic's value is copied");
    throw detail::make_panic<V>(std::forward<T>(value));
  }
}

}  // namespace heddle
