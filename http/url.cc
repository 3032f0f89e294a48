#include <heddle/http/url.h>

#include <algorithm>
#include <utility>

#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/target.h>

namespace heddle::http {
namespace {

std::unexpected<Error> invalid() { return std::unexpected(Error{Code::kInvalid, 0, "url"}); }
std::unexpected<Error> unsupported() { return std::unexpected(Error{Code::kUnsupported, 0, "url: scheme"}); }

// RFC 3986 s3.3 (pchar) and '/', with escapes that are whole and not %00; s3.4 and s3.5 add '?'.
bool is_plain(std::string_view text, bool question) noexcept {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (chars::is(c, chars::kHost) || c == ':' || c == '@' || c == '/') continue;
    if (c == '?' && question) continue;
    if (c != '%' || i + 2 >= text.size()) return false;
    if (!chars::is(text[i + 1], chars::kHex) || !chars::is(text[i + 2], chars::kHex)) return false;
    if (text[i + 1] == '0' && text[i + 2] == '0') return false;
    i += 2;
  }
  return true;
}

// The scheme before a ':', or nothing: RFC 3986 s3.1 and s4.2 (a ':' in the first segment makes it one).
std::string_view scheme_of(std::string_view text) noexcept {
  const std::size_t end = text.find_first_of(":/?#");
  if (end == std::string_view::npos || text[end] != ':') return {};
  return text.substr(0, end);
}

std::optional<Url::Scheme> known_scheme(std::string_view name) noexcept {
  if (equal_fold(name, "http")) return Url::Scheme::kHttp;
  if (equal_fold(name, "https")) return Url::Scheme::kHttps;
  if (equal_fold(name, "http+unix")) return Url::Scheme::kUnix;
  return std::nullopt;
}

// RFC 3986 s5.2.4, of an absolute path.
std::string remove_dot_segments(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t slash = path.find('/', 1);
    const std::string_view segment = path.substr(0, slash);  // with its leading '/'
    const bool last = slash == std::string_view::npos;
    path = last ? std::string_view() : path.substr(slash);
    if (segment == "/.") {
      if (last) out += '/';
    } else if (segment == "/..") {
      out.erase(out.empty() ? 0 : out.rfind('/'));
      if (last) out += '/';
    } else {
      out += segment;
    }
  }
  return out;
}

}  // namespace

Result<Url> Url::parse(std::string_view text) {
  const std::string_view name = scheme_of(text);
  if (name.empty()) return invalid();
  const std::optional<Scheme> scheme = known_scheme(name);
  if (!scheme) return unsupported();
  text.remove_prefix(name.size() + 1);
  if (!text.starts_with("//")) return invalid();
  text.remove_prefix(2);
  const std::size_t end = std::min(text.find_first_of("/?#"), text.size());
  Url url;
  url.scheme_ = *scheme;
  if (!url.set_authority(text.substr(0, end)) || !url.set_rest(text.substr(end))) return invalid();
  return url;
}

bool Url::set_authority(std::string_view text) {
  port_ = 0;
  socket_.clear();
  if (scheme_ == Scheme::kUnix) {
    host_ = "localhost";
    if (text.empty() || text.find_first_of("@:[]") != std::string_view::npos || !is_plain(text, false)) return false;
    return decode_segment(text, socket_);
  }
  // Escapes in a name would make two spellings of one host; names in DNS need none.
  if (!is_host(text) || text.find('%') != std::string_view::npos) return false;
  const std::string_view name = host_without_port(text);
  host_.clear();
  for (const char c : name) host_ += chars::lower(c);
  std::uint32_t port = 0;
  const std::string_view digits = text.size() > name.size() ? text.substr(name.size() + 1) : std::string_view();
  for (const char c : digits) port = port * 10 + static_cast<std::uint32_t>(c - '0');
  if (port > 65535 || (port == 0 && !digits.empty())) return false;
  port_ = static_cast<std::uint16_t>(port == (scheme_ == Scheme::kHttp ? 80U : 443U) ? 0U : port);
  return true;
}

bool Url::set_rest(std::string_view text) {
  fragment_.reset();
  query_.reset();
  if (const std::size_t hash = text.find('#'); hash != std::string_view::npos) {
    if (!is_plain(text.substr(hash + 1), true)) return false;
    fragment_.emplace(text.substr(hash + 1));
    text = text.substr(0, hash);
  }
  if (const std::size_t question = text.find('?'); question != std::string_view::npos) {
    if (!is_plain(text.substr(question + 1), true)) return false;
    query_.emplace(text.substr(question + 1));
    text = text.substr(0, question);
  }
  if (!is_plain(text, false)) return false;
  path_ = text.empty() ? "/" : text;
  return path_[0] == '/';
}

Result<Url> Url::resolve(std::string_view reference) const {
  if (const std::string_view name = scheme_of(reference); !name.empty()) {
    Result<Url> url = parse(reference);
    if (url) url->path_ = remove_dot_segments(url->path_);
    return url;
  }
  Url url = *this;
  std::string_view rest = reference;
  if (rest.starts_with("//")) {
    rest.remove_prefix(2);
    const std::size_t end = std::min(rest.find_first_of("/?#"), rest.size());
    if (!url.set_authority(rest.substr(0, end)) || !url.set_rest(rest.substr(end))) return invalid();
    url.path_ = remove_dot_segments(url.path_);
    return url;
  }
  const std::size_t path_end = std::min(rest.find_first_of("?#"), rest.size());
  const std::string_view path = rest.substr(0, path_end);
  if (path.empty()) {
    const std::optional<std::string> old_query = url.query_;
    if (!url.set_rest(rest)) return invalid();
    url.path_ = path_;
    if (!url.query_) url.query_ = old_query;
    return url;
  }
  // s5.2.3: a relative path replaces what follows the last '/'.
  const std::string base = path[0] == '/' ? std::string() : path_.substr(0, path_.rfind('/') + 1);
  if (!url.set_rest(base + std::string(rest))) return invalid();
  url.path_ = remove_dot_segments(url.path_);
  return url;
}

std::string_view Url::scheme_name() const noexcept {
  switch (scheme_) {
    case Scheme::kHttp: return "http";
    case Scheme::kHttps: return "https";
    case Scheme::kUnix: return "http+unix";
  }
  std::unreachable();
}

std::uint16_t Url::port() const noexcept {
  if (scheme_ == Scheme::kUnix) return 0;
  if (port_ != 0) return port_;
  return scheme_ == Scheme::kHttp ? 80 : 443;
}

std::string Url::authority() const { return port_ == 0 ? host_ : host_ + ":" + std::to_string(port_); }

std::string Url::target() const { return query_ ? path_ + "?" + *query_ : path_; }

std::string Url::without_fragment() const {
  std::string out(scheme_name());
  out += "://";
  if (scheme_ == Scheme::kUnix) {
    encode_segment(socket_, out);
    // A ':' and an '@' are plain in a segment, and would mean something else in an authority.
    for (std::size_t i = out.find("://") + 3; i < out.size(); ++i) {
      if (out[i] == '@') out.replace(i, 1, "%40");
      if (out[i] == ':') out.replace(i, 1, "%3A");
    }
  } else {
    out += authority();
  }
  return out + target();
}

std::string Url::to_string() const { return fragment_ ? without_fragment() + "#" + *fragment_ : without_fragment(); }

bool Url::same_origin(const Url& other) const noexcept {
  return scheme_ == other.scheme_ && port_ == other.port_ && host_ == other.host_ && socket_ == other.socket_;
}

}  // namespace heddle::http
