#include <heddle/http/internal/ws_handshake.h>

namespace heddle::http::ws {

std::string joined(const HeaderList& headers, std::string_view name) {
  std::string all;
  for (const HeaderField f : headers) {
    if (!equal_fold(f.name, name)) continue;
    if (!all.empty()) all += ", ";
    all += f.value;
  }
  return all;
}

std::optional<std::vector<std::string_view>> tokens(std::string_view list) {
  std::vector<std::string_view> all;
  while (!list.empty()) {
    const std::string_view element = next_element(list);
    if (element.empty()) continue;
    if (!is_token(element)) return std::nullopt;
    all.push_back(element);
  }
  return all;
}

}  // namespace heddle::http::ws
