// Parsing and printing endpoints.
#include <heddle/net/endpoint.h>

namespace heddle::net {
namespace {

constexpr std::string_view kUnix = "unix:";

}  // namespace

Result<Endpoint> Endpoint::parse(std::string_view text) {
  if (!text.starts_with(kUnix)) {
    const Result<Address> address = Address::parse(text);
    if (!address) return std::unexpected(address.error());
    return Endpoint(*address);
  }
  text.remove_prefix(kUnix.size());
  if (text.empty()) return std::unexpected(Error{Code::kInvalid, 0, "parse endpoint: no path behind \"unix:\""});
  const Result<UnixAddress> address = UnixAddress::parse(text);
  if (!address) return std::unexpected(address.error());
  return Endpoint(*address);
}

std::string Endpoint::to_string() const {
  const UnixAddress* const path = local();
  return path == nullptr ? ip()->to_string() : std::string(kUnix) + path->to_string();
}

}  // namespace heddle::net
