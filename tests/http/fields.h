// A HeaderList for tests of what reads one.
#pragma once

#include <heddle/http/header.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace heddle::http::test {

class Fields {
 public:
  Fields(std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
    for (const auto& [name, value] : fields) {
      const auto at = static_cast<std::uint32_t>(text_.size());
      const auto name_size = static_cast<std::uint32_t>(name.size());
      refs_.push_back({at, at + name_size, static_cast<std::uint32_t>(value.size()), name_size});
      text_.append(name).append(value);
    }
  }

  [[nodiscard]] HeaderList list() const { return {text_.data(), refs_.data(), refs_.size()}; }

 private:
  std::string text_;
  std::vector<HeaderList::Ref> refs_;
};

}  // namespace heddle::http::test
