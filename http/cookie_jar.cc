#include <heddle/http/cookie_jar.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include <heddle/http/internal/chars.h>

namespace heddle::http {
namespace {

namespace chrono = std::chrono;

std::string canonical(std::string_view host) {
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  std::string out(host);
  std::ranges::transform(out, out.begin(), chars::lower);
  return out;
}

// A Unix socket's host is its path, in hex, for a path's letters are not the same in both cases. The ':' makes it one of
// those that have nothing above or below them.
std::string host_of(const Url& url) {
  if (url.scheme() != Url::Scheme::kUnix) return url.host();
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "unix:";
  for (const char c : url.unix_socket()) {
    const auto byte = static_cast<unsigned char>(c);
    out += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return out;
}

// An address, or what would be read as one: nothing is above or below it.
bool is_number(std::string_view host) noexcept {
  if (host.find(':') != std::string_view::npos) return true;
  return chars::all(host.substr(host.rfind('.') + 1), chars::kDigit);  // npos + 1 is 0
}

// RFC 6265bis s5.1.3; both in lower case.
bool domain_matches(std::string_view host, std::string_view domain) noexcept {
  if (host == domain) return true;
  return host.size() > domain.size() && host.ends_with(domain) && host[host.size() - domain.size() - 1] == '.' &&
         !is_number(host);
}

// RFC 6265bis s5.1.4.
std::string default_path(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (!path.starts_with('/') || slash == 0) return "/";
  return std::string(path.substr(0, slash));
}

bool path_matches(std::string_view path, std::string_view cookie_path) noexcept {
  if (!path.starts_with(cookie_path)) return false;
  return path.size() == cookie_path.size() || cookie_path.ends_with('/') || path[cookie_path.size()] == '/';
}

CookieJar::Time expiry(const SetCookie& c, chrono::seconds max_life, CookieJar::Time now) {
  const CookieJar::Time latest = now + max_life;
  if (c.max_age) return c.max_age->count() <= 0 ? CookieJar::Time::min() : now + std::min(*c.max_age, max_life);
  return c.expires ? std::min(*c.expires, latest) : CookieJar::Time::max();
}

// RFC 6265bis s5.7, steps on prefixes; the name may be hidden in the value of a cookie without one.
bool prefix_is_kept(const SetCookie& c, bool host_only, std::string_view path) noexcept {
  if (c.name.empty()) return !has_cookie_prefix(c.value, "__Secure-") && !has_cookie_prefix(c.value, "__Host-");
  if (has_cookie_prefix(c.name, "__Secure-")) return c.secure;
  if (has_cookie_prefix(c.name, "__Host-")) return c.secure && host_only && c.path && path == "/";
  return true;
}

}  // namespace

CookieJar::CookieJar(CookieJarOptions options) : options_(std::move(options)) {}

CookieJar::Time CookieJar::wall_now() { return chrono::floor<chrono::seconds>(chrono::system_clock::now()); }

bool CookieJar::is_public(std::string_view domain) const {
  return options_.is_public_suffix ? options_.is_public_suffix(domain) : domain.find('.') == std::string_view::npos;
}

// The steps of RFC 6265bis s5.7, in their order.
bool CookieJar::store(const CookieUrl& from, std::string_view set_cookie, Time now) {
  std::optional<SetCookie> c = parse_set_cookie(set_cookie);
  if (!c) return false;
  const std::string host = canonical(from.host);
  if (c->domain && is_public(*c->domain)) {
    if (*c->domain != host) return false;
    c->domain.reset();
  }
  if (c->domain && !domain_matches(host, *c->domain))
    return false;  // nor one with bytes beyond ASCII: no host has them
  const bool host_only = !c->domain;
  std::string path = c->path && !c->path->empty() ? *c->path : default_path(from.path);
  if (c->secure && !from.secure) return false;
  if ((c->same_site == SameSite::kNone || c->partitioned) && !c->secure) return false;
  if (!prefix_is_kept(*c, host_only, path)) return false;

  Entry fresh;
  fresh.name = std::move(c->name);
  fresh.value = std::move(c->value);
  fresh.path = std::move(path);
  fresh.expires = expiry(*c, options_.max_life, now);
  fresh.persistent = c->max_age || c->expires;
  fresh.host_only = host_only;
  fresh.secure = c->secure;
  std::string domain = host_only ? host : std::move(*c->domain);
  if (fresh.path.size() > kMaxCookieAttribute || domain.size() > kMaxCookieAttribute) return false;  // keeps I1

  std::lock_guard guard(mutex_);
  if (!from.secure && overlays_secure_locked(fresh, domain, now)) return false;
  insert_locked(std::move(domain), std::move(fresh), now);
  return true;
}

// Keeps I2: either domain covers the other, and the fresh path is the other's or below it.
bool CookieJar::overlays_secure_locked(const Entry& fresh, std::string_view domain, Time now) const {
  for (const auto& [other, entries] : domains_) {
    if (!domain_matches(other, domain) && !domain_matches(domain, other)) continue;
    for (const Entry& e : entries) {
      if (e.secure && e.expires > now && e.name == fresh.name && path_matches(fresh.path, e.path)) return true;
    }
  }
  return false;
}

void CookieJar::insert_locked(std::string domain, Entry fresh, Time now) {
  fresh.created = fresh.used = ++ticks_;
  const auto found = domains_.find(domain);
  if (found != domains_.end()) {
    const auto old = std::ranges::find_if(found->second, [&fresh](const Entry& e) {
      return e.name == fresh.name && e.path == fresh.path && e.host_only == fresh.host_only;
    });
    if (old != found->second.end()) {
      fresh.created = old->created;
      found->second.erase(old);
      --size_;
      if (found->second.empty()) domains_.erase(found);
    }
  }
  if (fresh.expires <= now) return;  // that was all it was for
  std::vector<Entry>& entries = domains_[std::move(domain)];
  entries.push_back(std::move(fresh));
  ++size_;
  if (entries.size() > options_.max_per_domain) {
    size_ -= std::erase_if(entries, [now](const Entry& e) { return e.expires <= now; });
    // RFC 6265bis s5.7, the order of eviction. It may be the one that has just come: what lacks Secure drives out nothing that
    // has it (I2).
    while (entries.size() > std::max<std::size_t>(options_.max_per_domain, 1)) {
      const auto worst =
          std::ranges::min_element(entries, {}, [](const Entry& e) { return std::pair(e.secure, e.used); });
      entries.erase(worst);
      --size_;
    }
  }
  if (size_ > options_.max_cookies) make_room_locked(now);
}

// Keeps I1, for all domains together.
void CookieJar::make_room_locked(Time now) {
  keep_locked([now](const Entry& e) { return e.expires > now; });
  while (size_ > std::max<std::size_t>(options_.max_cookies, 1)) {
    std::uint64_t oldest = ticks_;
    for (const auto& [domain, entries] : domains_) {
      for (const Entry& e : entries) oldest = std::min(oldest, e.used);
    }
    keep_locked([oldest](const Entry& e) { return e.used != oldest; });
  }
}

template <class Keep>
void CookieJar::keep_locked(Keep keep) {
  for (auto at = domains_.begin(); at != domains_.end();) {
    size_ -= std::erase_if(at->second, [&keep](const Entry& e) { return !keep(e); });
    at = at->second.empty() ? domains_.erase(at) : std::next(at);
  }
}

// RFC 6265bis s5.8.3.
std::string CookieJar::cookies_for(const CookieUrl& to, Time now) {
  const std::string host = canonical(to.host);
  const std::string_view path = to.path.starts_with('/') ? to.path : std::string_view("/");
  std::lock_guard guard(mutex_);
  std::vector<Entry*> chosen;
  // The host's own list, then those of the domains above it.
  for (std::string_view domain = host;;) {
    if (const auto found = domains_.find(domain); found != domains_.end()) {
      for (Entry& e : found->second) {
        const bool here = e.host_only ? domain == host : domain_matches(host, domain);
        if (here && e.expires > now && path_matches(path, e.path) && (!e.secure || to.secure)) chosen.push_back(&e);
      }
    }
    const std::size_t dot = domain.find('.');
    if (dot == std::string_view::npos) break;
    domain.remove_prefix(dot + 1);
  }
  std::ranges::sort(chosen, [](const Entry* a, const Entry* b) {
    if (a->path.size() != b->path.size()) return a->path.size() > b->path.size();
    return a->created < b->created;
  });
  std::string out;
  for (Entry* e : chosen) {
    e->used = ++ticks_;
    if (!out.empty()) out += "; ";
    if (!e->name.empty()) out.append(e->name).append("=");
    out += e->value;
  }
  return out;
}

std::size_t CookieJar::size() const {
  std::lock_guard guard(mutex_);
  return size_;
}

std::string CookieJar::cookies_for(const Url& url) {
  const std::string host = host_of(url);
  return cookies_for({.host = host, .path = url.path(), .secure = url.scheme() == Url::Scheme::kHttps});
}

void CookieJar::store(const Url& url, HeaderList headers) {
  const std::string host = host_of(url);
  const CookieUrl from{.host = host, .path = url.path(), .secure = url.scheme() == Url::Scheme::kHttps};
  for (const HeaderField field : headers) {
    if (equal_fold(field.name, "Set-Cookie")) store(from, field.value);
  }
}

void CookieJar::clear() {
  std::lock_guard guard(mutex_);
  domains_.clear();
  size_ = 0;
}

void CookieJar::end_session() {
  std::lock_guard guard(mutex_);
  keep_locked([](const Entry& e) { return e.persistent; });
}

}  // namespace heddle::http
