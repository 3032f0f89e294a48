#include <heddle/http/method.h>

#include <array>

namespace heddle::http {
namespace {
constexpr std::array kNames{
#define HEDDLE_HTTP_X(id, name) std::string_view(name),
    HEDDLE_HTTP_METHODS(HEDDLE_HTTP_X)
#undef HEDDLE_HTTP_X
};
}  // namespace

std::string_view to_string(Method method) noexcept { return kNames[static_cast<std::size_t>(method)]; }

std::optional<Method> parse_method(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Method>(i);
  }
  return std::nullopt;
}

}  // namespace heddle::http
