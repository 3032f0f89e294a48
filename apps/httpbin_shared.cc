// What the endpoints of heddle-httpbin share: parameters and their bounds, requests as JSON, bodies in ranges.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>

#include <heddle/http/conditional.h>
#include <heddle/http/header.h>
#include <heddle/http/range.h>
#include <heddle/http/static_files.h>
#include <heddle/http/status.h>
#include <heddle/net/buffer.h>

#include "httpbin.h"

namespace heddle::apps::httpbin {
namespace {

std::optional<std::uint64_t> bounded(std::string_view text, ResponseWriter& writer, std::string_view name,
                                     std::uint64_t least, std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size() && value >= least && value <= most) return value;
  return bad_request(writer,
                     std::string(name) + " is a number from " + std::to_string(least) + " to " + std::to_string(most));
}

// Fields of one name are one list (RFC 9110 s5.2), and names have any case.
nlohmann::json headers_json(const Request& request) {
  nlohmann::json out = nlohmann::json::object();
  for (const http::HeaderField field : request.headers()) {
    const auto same = std::find_if(out.items().begin(), out.items().end(),
                                   [&](const auto& item) { return http::equal_fold(item.key(), field.name); });
    if (same == out.items().end()) {
      out[std::string(field.name)] = field.value;
    } else {
      const bool cookie = http::equal_fold(field.name, "Cookie");  // RFC 6265 s5.4: those are joined otherwise
      same.value() = same.value().get<std::string>() + (cookie ? "; " : ", ") + std::string(field.value);
    }
  }
  return out;
}

// "127.0.0.1:40312" and "[::1]:40312" without the port.
std::string without_port(std::string address) {
  if (const std::size_t colon = address.rfind(':'); colon != std::string::npos) address.resize(colon);
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  return address;
}

}  // namespace

std::nullopt_t bad_request(ResponseWriter& writer, const std::string& why) {
  http::write_json(writer, {{"error", why}}, http::kStatusBadRequest);
  return std::nullopt;
}

void called_off(ResponseWriter& writer) {
  http::write_json(writer, {{"error", "called off"}}, http::kStatusServiceUnavailable);
}

std::optional<std::uint64_t> path_number(Request& request, ResponseWriter& writer, std::string_view name,
                                         std::uint64_t least, std::uint64_t most) {
  return bounded(request.path_value(name), writer, name, least, most);
}

std::optional<http::FormValues> query_of(Request& request, ResponseWriter& writer) {
  Result<http::FormValues> values = http::query_values(request);
  if (!values) return bad_request(writer, "the query is not of the form name=value&…, with bytes as %XX");
  return std::move(*values);
}

std::optional<std::uint64_t> query_number(const http::FormValues& query, ResponseWriter& writer, std::string_view name,
                                          std::uint64_t otherwise, std::uint64_t least, std::uint64_t most) {
  const auto text = query.find(name);
  return text ? bounded(*text, writer, name, least, most) : otherwise;
}

std::optional<std::chrono::milliseconds> query_seconds(const http::FormValues& query, ResponseWriter& writer,
                                                       std::string_view name, double otherwise, double most) {
  double value = otherwise;
  if (const auto text = query.find(name)) {
    const auto [end, error] =
        std::from_chars(text->data(), text->data() + text->size(), value, std::chars_format::fixed);
    // A NaN fails the comparison.
    if (error != std::errc{} || end != text->data() + text->size() || !(value >= 0 && value <= most)) {
      return bad_request(writer,
                         std::string(name) + " is a number of seconds from 0 to " + std::to_string(std::lround(most)));
    }
  }
  return std::chrono::milliseconds(std::lround(value * 1000));
}

std::string url_of(const Request& request) {
  const std::string_view target = request.target();
  if (!target.starts_with('/') || request.host().empty()) return std::string(target);  // absolute-form is one already
  return "http://" + std::string(request.host()) + std::string(target);
}

nlohmann::json as_json(const http::FormValues& values) {
  nlohmann::json out = nlohmann::json::object();
  for (const auto& [name, value] : values) {
    const auto at = out.find(name);
    if (at == out.end()) {
      out[name] = value;
    } else if (at->is_array()) {
      at->push_back(value);
    } else {
      *at = nlohmann::json::array({*at, value});
    }
  }
  return out;
}

nlohmann::json shown(const Request& request, const http::FormValues& query) {
  return {{"args", as_json(query)},
          {"headers", headers_json(request)},
          {"origin", without_port(request.peer_address())},
          {"url", url_of(request)}};
}

Result<void> write_content(ResponseWriter& writer, const Content& content, std::uint64_t offset, std::uint64_t size) {
  const net::Buffer buffer = net::Buffer::take(net::BufferSize::k16K);
  auto* const data = reinterpret_cast<char*>(buffer.data());
  while (size != 0) {
    const std::size_t n = std::min<std::uint64_t>(size, capacity_of(net::BufferSize::k16K));
    content(offset, {data, n});
    if (const Result<void> written = writer.write(std::string_view(data, n)); !written) return written;
    offset += n;
    size -= n;
  }
  return {};
}

void answer_ranged(Request& request, ResponseWriter& writer, std::string_view type, const std::string& etag,
                   std::uint64_t size, const Content& content) {
  writer.set_header("ETag", etag);
  writer.set_header("Accept-Ranges", "bytes");
  switch (http::check_preconditions(request.headers(), request.method(), {.etag = etag, .modified = {}})) {
    case http::Precondition::kProceed: break;
    case http::Precondition::kNotModified: return static_cast<void>(writer.status(http::kStatusNotModified));
    case http::Precondition::kFailed: return static_cast<void>(writer.status(http::kStatusPreconditionFailed));
  }
  http::ByteRange part{0, size};
  const auto asked = request.header("Range");
  const auto condition = request.header("If-Range");
  const auto now = std::chrono::sys_seconds(std::chrono::seconds(std::time(nullptr)));
  if (request.method() == http::Method::kGet && asked &&
      (!condition || http::if_range_holds(*condition, etag, {}, now))) {
    // One range: of several the answer may be the whole, and here it is.
    const http::RangeSet set = http::parse_range(*asked, size, 1);
    if (set.kind == http::RangeSet::Kind::kUnsatisfiable) {
      writer.status(http::kStatusRangeNotSatisfiable);
      writer.set_header("Content-Range", http::content_range_of_none(size));
      return;
    }
    if (set.kind == http::RangeSet::Kind::kPartial) {
      part = set.ranges.front();
      writer.status(http::kStatusPartialContent);
      writer.set_header("Content-Range", http::content_range(part, size));
    }
  }
  writer.set_header("Content-Type", type);
  writer.set_header("Content-Length", std::to_string(part.size));
  if (request.method() == http::Method::kHead) return;
  static_cast<void>(write_content(writer, content, part.first, part.size));
}

Result<void> add_static(Mux& mux, const std::string& root) {
  http::StaticFilesOptions options;
  options.list_folders = true;
  options.precompressed = true;
  Result<http::Handler> files = http::static_files(root, options);
  if (!files) return std::unexpected(files.error());
  mux.handle("/static/{file...}", std::move(*files));
  return {};
}

}  // namespace heddle::apps::httpbin
