// Media types and their parameters, as Content-Type and Content-Disposition have them (RFC 9110 s5.6.6, s8.3.1).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace heddle::http {

class Request;

/// Cuts "text/html", or "form-data", off a field's value; what follows is for next_parameter().
[[nodiscard]] std::string_view cut_essence(std::string_view& value) noexcept;

enum class ParameterStatus : std::uint8_t { kOne, kEnd, kBroken };

/// Cuts the next parameter off `rest`. A value is a token or in quotes, where a backslash stands before '"' and '\' and
/// is itself otherwise, for the sake of file names. Empty parameters are skipped.
[[nodiscard]] ParameterStatus next_parameter(std::string_view& rest, std::string_view& name, std::string& value);

/// The request's Content-Type; nothing if there is none, or several: those have no one reading.
[[nodiscard]] std::optional<std::string_view> content_type(const Request& request) noexcept;

/// True if the request says that its body is of the type `essence` ("application/json"), whatever the parameters.
[[nodiscard]] bool has_content_type(const Request& request, std::string_view essence) noexcept;

}  // namespace heddle::http
