#include <heddle/http/internal/ws_close.h>

#include <heddle/http/internal/ws_utf8.h>

namespace heddle::http::ws {

bool is_sendable_close(int code, std::string_view reason) noexcept {
  return (is_wire_code(code) || (code == 1005 && reason.empty())) && reason.size() <= kMaxReason && is_utf8(reason);
}

ClosePayload read_close(std::string_view payload) noexcept {
  if (payload.empty()) return {};
  if (payload.size() == 1) return {.fault = 1002};
  const int code = static_cast<unsigned char>(payload[0]) << 8 | static_cast<unsigned char>(payload[1]);
  if (!is_wire_code(code)) return {.fault = 1002};
  const std::string_view reason = payload.substr(2);
  if (!is_utf8(reason)) return {.fault = 1007};
  return {.code = code, .reason = reason};
}

std::string close_payload(int code, std::string_view reason) {
  std::string payload;
  if (code == 1005) return payload;
  payload += static_cast<char>(code >> 8);
  payload += static_cast<char>(code & 255);
  payload += reason;
  return payload;
}

}  // namespace heddle::http::ws
