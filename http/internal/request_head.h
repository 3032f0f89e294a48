// The head of a client's request, as bytes.
//
// I1. The framing is ours alone: the fields that decide it, or that belong to the connection, are refused in a request.
// I2. No byte gets in unchecked: fields were checked by Fields, the target by Url, what is added here is ours.
#pragma once

#include <string>
#include <string_view>

#include <heddle/core/error.h>
#include <heddle/http/client_request.h>

namespace heddle::http {

/// What the client adds to a request of the user's.
struct HeadExtras {
  std::string_view authority = {};  // not empty: the target in place of the URL's (CONNECT, RFC 9112 s3.2.3)
  bool absolute_target = false;     // to a proxy: absolute-form (RFC 9112 s3.2.2)
  bool expect_continue = false;
  std::string_view cookies;              // none: empty
  std::string_view accept_encoding;      // none: empty
  std::string_view user_agent;           // none: empty
  std::string_view proxy_authorization;  // none: empty
};

/// Errors: kInvalid for a field that is the client's, and a Host that is none.
[[nodiscard]] Result<void> check_request_fields(const Fields& headers);

/// Errors: as check_request_fields(); kInvalid for a method that the client does not send (CONNECT, TRACE with a body).
[[nodiscard]] Result<void> check_request(const ClientRequest& request);

/// The head, up to its empty line. `request` was checked.
[[nodiscard]] std::string write_request_head(const ClientRequest& request, const HeadExtras& extras);

/// True if the request asks for another protocol (Upgrade).
[[nodiscard]] bool asks_to_upgrade(const ClientRequest& request) noexcept;

}  // namespace heddle::http
