// Status codes by name, and their reason phrases.
//
// A code is a plain int in every interface, because a handler may send any from 200 to 599; the names are for the ones
// that people write by hand. Source: RFC 9110 s15 and the IANA registry.
#pragma once

#include <string_view>

#include <heddle/core/error.h>

namespace heddle::http {

inline constexpr int kStatusSwitchingProtocols = 101;
inline constexpr int kStatusOk = 200;
inline constexpr int kStatusCreated = 201;
inline constexpr int kStatusAccepted = 202;
inline constexpr int kStatusNoContent = 204;
inline constexpr int kStatusResetContent = 205;
inline constexpr int kStatusPartialContent = 206;
inline constexpr int kStatusMovedPermanently = 301;
inline constexpr int kStatusFound = 302;
inline constexpr int kStatusSeeOther = 303;
inline constexpr int kStatusNotModified = 304;
inline constexpr int kStatusTemporaryRedirect = 307;
inline constexpr int kStatusPermanentRedirect = 308;
inline constexpr int kStatusBadRequest = 400;
inline constexpr int kStatusUnauthorized = 401;
inline constexpr int kStatusForbidden = 403;
inline constexpr int kStatusNotFound = 404;
inline constexpr int kStatusMethodNotAllowed = 405;
inline constexpr int kStatusRequestTimeout = 408;
inline constexpr int kStatusConflict = 409;
inline constexpr int kStatusPreconditionFailed = 412;
inline constexpr int kStatusContentTooLarge = 413;
inline constexpr int kStatusUriTooLong = 414;
inline constexpr int kStatusUnsupportedMediaType = 415;
inline constexpr int kStatusRangeNotSatisfiable = 416;
inline constexpr int kStatusExpectationFailed = 417;
inline constexpr int kStatusUpgradeRequired = 426;
inline constexpr int kStatusTooManyRequests = 429;
inline constexpr int kStatusHeaderFieldsTooLarge = 431;
inline constexpr int kStatusInternalServerError = 500;
inline constexpr int kStatusNotImplemented = 501;
inline constexpr int kStatusBadGateway = 502;
inline constexpr int kStatusServiceUnavailable = 503;
inline constexpr int kStatusGatewayTimeout = 504;
inline constexpr int kStatusVersionNotSupported = 505;

/// "Not Found" for 404; empty for a code nobody registered.
[[nodiscard]] std::string_view reason_phrase(int status) noexcept;

/// What to answer if reading a request failed so: 413 for kLimit, 415 for kUnsupported, 408 for kTimeout, 400 for what
/// else is the client's doing (kProtocol, kInvalid, kEof, kReset), 500 for the rest.
[[nodiscard]] int status_for(const Error& error) noexcept;

}  // namespace heddle::http
