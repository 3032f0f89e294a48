// The request methods that heddle knows. Any other token is answered 501 before a handler sees it.
//
// Names are case-sensitive (RFC 9110 s9.1). The list is llhttp's less what is not HTTP (SOURCE, PRI, RTSP's own).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace heddle::http {

// X(our name, the name on the wire)
#define HEDDLE_HTTP_METHODS(X)                                                                                      \
  X(kGet, "GET") X(kHead, "HEAD") X(kPost, "POST") X(kPut, "PUT") X(kDelete, "DELETE") X(kPatch, "PATCH")           \
  X(kOptions, "OPTIONS") X(kTrace, "TRACE") X(kConnect, "CONNECT") X(kQuery, "QUERY") X(kCopy, "COPY")              \
  X(kLock, "LOCK") X(kMkcol, "MKCOL") X(kMove, "MOVE") X(kPropfind, "PROPFIND") X(kProppatch, "PROPPATCH")          \
  X(kSearch, "SEARCH") X(kUnlock, "UNLOCK") X(kBind, "BIND") X(kRebind, "REBIND") X(kUnbind, "UNBIND")              \
  X(kAcl, "ACL") X(kReport, "REPORT") X(kMkactivity, "MKACTIVITY") X(kCheckout, "CHECKOUT") X(kMerge, "MERGE")      \
  X(kMsearch, "M-SEARCH") X(kNotify, "NOTIFY") X(kSubscribe, "SUBSCRIBE") X(kUnsubscribe, "UNSUBSCRIBE")            \
  X(kPurge, "PURGE") X(kMkcalendar, "MKCALENDAR") X(kLink, "LINK") X(kUnlink, "UNLINK")

enum class Method : std::uint8_t {
#define HEDDLE_HTTP_X(id, name) id,
  HEDDLE_HTTP_METHODS(HEDDLE_HTTP_X)
#undef HEDDLE_HTTP_X
};

/// The name on the wire: "GET".
[[nodiscard]] std::string_view to_string(Method method) noexcept;

/// The method of that name, in that case; nothing if heddle does not know it.
[[nodiscard]] std::optional<Method> parse_method(std::string_view name) noexcept;

}  // namespace heddle::http
