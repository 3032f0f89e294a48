#include <heddle/core/panic.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>

namespace heddle {
namespace {

std::string demangled(const std::type_info& type) {
  int status = 0;
  char* const text = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
  const std::unique_ptr<char, void (*)(void*)> name(text, &std::free);
  return status == 0 ? name.get() : type.name();
}

}  // namespace

namespace detail {

std::string panic_text(bool v) { return v ? "true" : "false"; }
std::string panic_text(long long v) { return std::to_string(v); }
std::string panic_text(unsigned long long v) { return std::to_string(v); }

// Go's: a sign, six digits, and an exponent of three digits, where C's has two or three.
std::string panic_text(double v) {
  if (v != v) return "NaN";
  if (v - v != 0) return v > 0 ? "+Inf" : "-Inf";
  char text[32];
  std::snprintf(text, sizeof text, "%+.6e", v);
  std::string s = text;
  if (const std::size_t e = s.find('e'); s.size() - e == 4) s.insert(e + 2, "0");
  return s;
}

std::string panic_text(const std::type_info& type, const std::string& value) {
  return demangled(type) + '(' + value + ')';
}

std::string panic_text(const std::type_info& type, const void* where) {
  char text[32];
  const auto address = reinterpret_cast<std::uintptr_t>(where);
  std::snprintf(text, sizeof text, ") 0x%llx", static_cast<unsigned long long>(address));
  return '(' + demangled(type) + text;
}

void throw_nil_panic() { throw make_panic<PanicNilError>(PanicNilError()); }

void throw_again(const std::exception_ptr& exception) {
  if (exception == nullptr) throw_nil_panic();
  std::rethrow_exception(exception);
}

}  // namespace detail

const void* PanicValue::object(const std::type_info& type) const noexcept {
  const std::type_info* thrown = exception_.__cxa_exception_type();
  if (thrown == nullptr || *thrown != type) return nullptr;
  // An exception_ptr is a pointer to the exception's object (libstdc++, bits/exception_ptr.h).
  static_assert(sizeof exception_ == sizeof(const void*));
  const void* at = nullptr;
  std::memcpy(&at, static_cast<const void*>(&exception_), sizeof at);
  return at;
}

std::string PanicValue::text() const {
  const std::type_info* type = exception_.__cxa_exception_type();
  if (type == nullptr) return "unknown exception";
  if (const Panic* p = as<Panic>(); p != nullptr) return p->what();
  std::string text = demangled(*type);
  if (const auto* e = as<std::exception>(); e != nullptr) {
    if (*e->what() != '\0') text.append(": ").append(e->what());
  } else if (const auto* s = as<const char*>(); s != nullptr && *s != nullptr) {
    text.append(": ").append(*s);
  } else if (const auto* str = as<std::string>(); str != nullptr) {
    text.append(": ").append(*str);
  } else if (const auto* n = as<int>(); n != nullptr) {
    text.append(": ").append(std::to_string(*n));
  }
  return text;
}

}  // namespace heddle
