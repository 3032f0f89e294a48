#include <heddle/http/internal/path.h>

#include <algorithm>

#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/target.h>

namespace heddle::http {

SplitPath::SplitPath(std::string_view raw) : raw_(raw) {
  const bool escaped = raw.find('%') != std::string_view::npos;
  if (escaped) decoded_.reserve(raw.size());  // enough: views into it hold
  for (std::size_t at = 0; at < raw.size();) {
    const std::size_t end = std::min(raw.find('/', at + 1), raw.size());
    std::string_view segment = raw.substr(at + 1, end - at - 1);
    at = end;
    if (escaped) {
      decoded_ += '/';
      const std::size_t begin = decoded_.size();
      static_cast<void>(decode_segment(segment, decoded_));
      segment = std::string_view(decoded_).substr(begin);
    }
    if (segment.empty()) {
      slash_ = end == raw.size();
      clean_ = clean_ && slash_;
    } else {
      clean_ = clean_ && segment != "." && segment != "..";
      add(segment);
    }
  }
  text_ = escaped ? std::string_view(decoded_) : raw_;
}

void SplitPath::add(std::string_view segment) {
  if (size_ < kFew) {
    few_.set(size_, segment);
  } else {
    more_.push_back(segment);
  }
  ++size_;
}

std::string_view SplitPath::from(std::size_t i) const noexcept {
  if (i >= size_) return {};
  return text_.substr(static_cast<std::size_t>((*this)[i].data() - text_.data()));
}

std::string SplitPath::cleaned() const {
  std::vector<std::string_view> kept;
  bool slash = slash_;
  for (std::size_t i = 0; i < size_; ++i) {
    const std::string_view segment = (*this)[i];
    const bool up = segment == "..";
    if (up && !kept.empty()) kept.pop_back();
    if (!up && segment != ".") kept.push_back(segment);
    if (i + 1 == size_ && (up || segment == ".")) slash = true;  // "/a/." is "/a/"
  }
  std::string out;
  for (const std::string_view segment : kept) {
    out += '/';
    encode_segment(segment, out);
  }
  if (slash || out.empty()) out += '/';
  return out;
}

}  // namespace heddle::http
