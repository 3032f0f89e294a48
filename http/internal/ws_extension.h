// The negotiation of permessage-deflate: what is offered, what is answered, what both sides then do.
//
//     client                                         server
//     offer: "permessage-deflate; a; b=1, …" ------> the first offer that it understands to the last parameter
//     checks the answer against its offer   <------ "permessage-deflate; …", or no such field
//
// An offer with a parameter that is unknown, there twice or of a bad value is passed over (RFC 7692 s7); an answer of that kind,
// or one that was not offered, fails the connection (s5.1). A field that is no list of extensions at all (RFC 6455 s9.1)
// fails it at either end.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <heddle/core/error.h>
#include <heddle/http/websocket_options.h>

namespace heddle::http::ws {

/// What was agreed, as this side sees it.
struct Agreed {
  bool own_takeover = true;
  bool peer_takeover = true;
  int own_bits = 15;  // 8: we never compress, for zlib has no such window; nobody has to
  int peer_bits = 15;

  friend bool operator==(const Agreed&, const Agreed&) = default;
};

struct Answer {
  Agreed agreed;
  std::string field;  // Sec-WebSocket-Extensions of the response
};

/// A server's: what to answer to `offers`, all fields joined by commas. Nothing: no extension.
/// Errors: kProtocol if it is no list of extensions.
[[nodiscard]] Result<std::optional<Answer>> answer_offers(std::string_view offers, const Compression& options);

/// A client's: what to offer.
[[nodiscard]] std::string make_offer(const Compression& options);

/// A client's: what the answer to make_offer() means. Nothing: no extension. Errors: kProtocol if it must not be so.
[[nodiscard]] Result<std::optional<Agreed>> read_answer(std::string_view answer, const Compression& options);

}  // namespace heddle::http::ws
