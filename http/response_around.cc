// What goes before a response and behind it: informational responses, and trailers.
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <heddle/http/internal/output.h>
#include <heddle/http/internal/response_rules.h>
#include <heddle/http/internal/server_conn.h>
#include <heddle/http/internal/trailer_rules.h>
#include <heddle/http/response_writer.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

using namespace std::string_view_literals;

// Takes the lines of that name out.
void remove_lines(std::string& lines, std::string_view name) {
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t size = lines.find("\r\n"sv, at) + 2 - at;
    const bool same = size > name.size() && lines[at + name.size()] == ':' &&
                      equal_fold(std::string_view(lines).substr(at, name.size()), name);
    if (same) {
      lines.erase(at, size);
    } else {
      at += size;
    }
  }
}

}  // namespace

Result<void> ResponseWriter::inform(int code, std::span<const HeaderField> fields) {
  if (started() || code < 100 || code > 199 || code == 101) return std::unexpected(refusal(Code::kInvalid));
  if (http10_) return std::unexpected(refusal(Code::kUnsupported));
  std::string head = "HTTP/1.1 " + std::to_string(code) + " ";
  head.append(reason_phrase(code)).append("\r\n");
  for (const HeaderField& f : fields) {
    if (!is_token(f.name) || !is_field_value(f.value)) return std::unexpected(refusal(Code::kInvalid));
    if (belongs_to_server(f.name) || equal_fold(f.name, "content-length"))  // RFC 9110 s8.6
      return std::unexpected(refusal(Code::kUnsupported));
    head.append(f.name).append(": ").append(f.value).append("\r\n");
    if (head.size() > kMaxResponseFields) return std::unexpected(refusal(Code::kLimit));
  }
  head.append("\r\n");
  if (code == 100) conn_.note_committed();  // it has been told
  if (!out_.insert_before_current(head) || !out_.flush()) return failure("http inform");
  return {};
}

bool ResponseWriter::takes_trailers() const noexcept {
  return !http10_ && conn_.exchange().headers().lists("te", "trailers");
}

Result<void> ResponseWriter::check_trailer(std::string_view name) const noexcept {
  if (!is_token(name)) return std::unexpected(refusal(Code::kInvalid));
  if (!may_be_trailer(name) || http10_) return std::unexpected(refusal(Code::kUnsupported));
  return {};
}

Result<void> ResponseWriter::declare_trailer(std::string_view name) {
  if (mode_ != Mode::kNothing) return std::unexpected(refusal(Code::kInvalid));
  if (const Result<void> right = check_trailer(name); !right) return right;
  if (trailers_ == nullptr) trailers_ = std::make_unique<Trailers>();
  std::string& names = trailers_->names;
  for (std::string_view rest = names; !rest.empty();) {
    if (equal_fold(next_element(rest), name)) return {};
  }
  if (names.size() + 2 + name.size() > kMaxTrailerNames) return std::unexpected(refusal(Code::kLimit));
  if (!names.empty()) names += ", ";
  names += name;
  return {};
}

Result<void> ResponseWriter::set_trailer(std::string_view name, std::string_view value) {
  if (!is_field_value(value)) return std::unexpected(refusal(Code::kInvalid));  // keeps I2
  if (mode_ == Mode::kNothing) {
    if (const Result<void> declared = declare_trailer(name); !declared) return declared;
  } else {
    if (const Result<void> right = check_trailer(name); !right) return right;
    if (mode_ != Mode::kMeasured && mode_ != Mode::kChunked) return std::unexpected(refusal(Code::kUnsupported));
    if (trailers_ == nullptr) trailers_ = std::make_unique<Trailers>();
  }
  std::string lines = trailers_->lines;
  remove_lines(lines, name);
  lines.append(name).append(": ").append(value).append("\r\n");
  if (lines.size() > kMaxResponseTrailers) return std::unexpected(refusal(Code::kLimit));
  trailers_->lines = std::move(lines);
  return {};
}

}  // namespace heddle::http
