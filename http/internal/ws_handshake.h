// What both ends of a WebSocket's handshake read in fields: lists, and fields that may be there once.
//
// Source: RFC 9110 s5.6.1, RFC 6455 s4.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/http/header.h>

namespace heddle::http::ws {

/// All fields of that name as one list.
[[nodiscard]] std::string joined(const HeaderList& headers, std::string_view name);

/// The elements of a list of tokens, none of them empty; nothing if another one is among them.
[[nodiscard]] std::optional<std::vector<std::string_view>> tokens(std::string_view list);

}  // namespace heddle::http::ws
