// What a handler may not say of its response, for the parts of ResponseWriter.
//
// Framing and persistence are the server's: a handler that could set them could split responses (I2 of response_writer.h).
#pragma once

#include <string_view>

#include <heddle/core/error.h>
#include <heddle/http/header.h>

namespace heddle::http {

/// True for a field that the server alone sets. Content-Length is not among them: it is a promise of the handler's.
[[nodiscard]] inline bool belongs_to_server(std::string_view name) noexcept {
  switch (name.size()) {
    case 4: return equal_fold(name, "date");
    case 7: return equal_fold(name, "trailer") || equal_fold(name, "upgrade");
    case 10: return equal_fold(name, "connection") || equal_fold(name, "keep-alive");
    case 17: return equal_fold(name, "transfer-encoding");
    default: return false;
  }
}

/// Why a call of a handler's was refused.
[[nodiscard]] inline Error refusal(Code code) noexcept { return Error{code, 0, "http response"}; }

}  // namespace heddle::http
