#include <heddle/http/request_id.h>

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <heddle/core/check.h>
#include <heddle/core/goroutine_local.h>
#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>

namespace heddle::http {
namespace {

constexpr std::size_t kMaxId = 128;

// Shared with the goroutines that a handler starts, which may outlive it. Never null where there is one.
using Id = std::shared_ptr<const std::string>;
GoroutineLocal<Id, Inherit::kCopy> id_here;

bool is_id(std::string_view id) noexcept {
  return !id.empty() && id.size() <= kMaxId && std::ranges::all_of(id, [](char c) {
    const char l = chars::lower(c);
    return (l >= 'a' && l <= 'z') || chars::is(c, chars::kDigit) ||
           std::string_view("-._~:+/=@").find(c) != std::string_view::npos;
  });
}

std::string make_id() {
  static constexpr char kHex[] = "0123456789abcdef";
  std::array<unsigned char, 16> random;
  // So few bytes come whole and, once the machine has booted, without waiting: getrandom(2).
  HEDDLE_CHECK(::getrandom(random.data(), random.size(), 0) == static_cast<ssize_t>(random.size()));
  std::string id;
  id.reserve(2 * random.size());
  for (const unsigned char byte : random) {
    id += kHex[byte >> 4];
    id += kHex[byte & 15];
  }
  return id;
}

// Fields that ResponseWriter keeps to itself would be left out, or break the response's length.
bool may_be_set(std::string_view name) noexcept {
  static constexpr std::string_view kTaken[] = {"Connection", "Content-Length",    "Content-Type", "Date",
                                                "Keep-Alive", "Transfer-Encoding", "Trailer",      "Upgrade"};
  return is_token(name) &&
         std::ranges::none_of(kTaken, [name](std::string_view taken) { return equal_fold(name, taken); });
}

// This goroutine's id, for the scope of a handler.
class Scope {
 public:
  explicit Scope(Id id) {
    if (Id* const here = id_here.get()) {
      outer_ = std::exchange(*here, std::move(id));
    } else {
      id_here.set(std::move(id));
    }
  }
  ~Scope() {
    if (outer_) {
      *id_here.get() = std::move(outer_);
    } else {
      id_here.reset();
    }
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  Id outer_;
};

}  // namespace

Middleware request_id(RequestIdOptions options) {
  if (!may_be_set(options.header)) throw std::invalid_argument("request_id: header \"" + options.header + "\"");
  return [options = std::move(options)](Handler next) -> Handler {
    return [options, next = std::move(next)](Request& r, ResponseWriter& w) {
      std::optional<std::string_view> sent;
      if (options.accept) sent = r.headers().find_only(options.header);
      const auto id = std::make_shared<const std::string>(sent && is_id(*sent) ? std::string(*sent) : make_id());
      static_cast<void>(w.set_header(options.header, *id));
      r.set_id(id);
      const Scope scope(id);
      next(r, w);
    };
  };
}

std::string_view current_request_id() noexcept {
  const Id* const id = id_here.get();
  return id == nullptr ? std::string_view() : std::string_view(**id);
}

}  // namespace heddle::http
