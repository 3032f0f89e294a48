// Negotiation: which of what a server offers a client likes best, by Accept-Encoding and Accept (RFC 9110 s12).
//
// Both rank what is offered by the client's weights (q, in thousandths); equals by the order of the offers, so put first
// what the server prefers. An element that cannot be read is passed over; q=0 means "not that one".
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include <heddle/http/header.h>

namespace heddle::http {

/// The content coding for a response, of those in `offers` ("br", "gzip"; "identity" need not be among them).
///
/// Without an Accept-Encoding field: identity, which every client reads. An unnamed coding has the weight of `*`.
/// Identity is chosen where the client ranks it above all offers, or takes none of them; also where it takes neither
/// those nor identity: the field is then disregarded, as s12.1 permits. "x-gzip" means gzip (s8.4.1.3).
/// Returns: the offer; empty for identity.
[[nodiscard]] std::string_view choose_coding(const HeaderList& headers,
                                             std::span<const std::string_view> offers) noexcept;

/// The media type for a response: an index into `offers` ("text/html", "text/plain;format=flowed"). The weight of an
/// offer is that of the most specific range that matches it: type/subtype;parameter, type/subtype, type/*, */*.
/// Parameters are compared as text, without regard to case. Without an Accept field: the first.
/// Returns: nothing if the client accepts none: 406, or the first all the same (s12.1), as the handler likes.
[[nodiscard]] std::optional<std::size_t> choose_media_type(const HeaderList& headers,
                                                           std::span<const std::string_view> offers) noexcept;

}  // namespace heddle::http
