// How a request reads in the access log. The escaping keeps I3 of access_log.h.
#include <time.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <optional>

#include <heddle/http/access_log.h>

namespace heddle::http {
namespace {

constexpr char kHex[] = "0123456789abcdef";

// JSON's escapes; the text format has them too, so that one rule is to be read. What is not ASCII may be no UTF-8: its
// bytes are told as \u00xx each, as if they were Latin-1.
void put_escaped(std::string& to, std::string_view text, std::size_t most) {
  for (const char c : text.substr(0, most)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      to += '\\';
      to += c;
    } else if (byte < 0x20 || byte > 0x7e) {
      to += "\\u00";
      to += kHex[byte >> 4];
      to += kHex[byte & 15];
    } else {
      to += c;
    }
  }
  if (text.size() > most) to += "...";
}

void put_number(std::string& to, std::int64_t n) {
  char digits[24];
  to.append(digits, std::to_chars(digits, digits + sizeof digits, n).ptr);
}

// "2026-11-21T02:47:38.123456Z" (RFC 3339).
void put_time(std::string& to, std::chrono::system_clock::time_point when) {
  const auto us = std::chrono::floor<std::chrono::microseconds>(when).time_since_epoch().count();
  const time_t second = us >= 0 ? us / 1'000'000 : (us - 999'999) / 1'000'000;
  tm parts{};
  ::gmtime_r(&second, &parts);
  char text[40];
  to.append(text, ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts));
  const int n = std::snprintf(text, sizeof text, ".%06dZ", static_cast<int>(us - second * 1'000'000));
  to.append(text, static_cast<std::size_t>(n));
}

std::int64_t micros(Duration d) { return std::chrono::duration_cast<std::chrono::microseconds>(d).count(); }

std::string_view outcome(const RequestRecord& r) {
  if (r.whole) return r.client_gone ? "gone" : "whole";
  return r.client_gone ? "gone" : "cut";
}

std::string_view or_dash(std::string_view text) { return text.empty() ? "-" : text; }

std::string json_line(const RequestRecord& r, std::size_t most) {
  std::string to;
  to.reserve(512);
  const auto text = [&](std::string_view name, std::string_view value) {
    if (value.empty()) return;
    to.append(",\"").append(name).append("\":\"");
    put_escaped(to, value, most);
    to += '"';
  };
  const auto number = [&](std::string_view name, std::int64_t value) {
    to.append(",\"").append(name).append("\":");
    put_number(to, value);
  };
  to += R"({"time":")";
  put_time(to, r.began);
  to += '"';
  text("client", r.peer);
  text("method", r.method);
  text("target", r.target);
  to += R"(,"protocol":"HTTP/1.)";
  put_number(to, r.minor_version);
  to += '"';
  number("status", r.status);
  number("sent", static_cast<std::int64_t>(r.bytes_sent));
  number("received", static_cast<std::int64_t>(r.bytes_received));
  number("us", micros(r.took));
  if (r.first_byte) number("first_us", micros(*r.first_byte));
  text("agent", r.headers.find("User-Agent").value_or(""));
  text("referer", r.headers.find("Referer").value_or(""));
  text("id", r.id);
  text("route", r.route);
  if (r.refused) to += R"(,"refused":true)";
  text("outcome", outcome(r));
  to += '}';
  return to;
}

std::string text_line(const RequestRecord& r, std::size_t most) {
  std::string to;
  to.reserve(512);
  const auto quoted = [&](std::string_view value) {
    to += '"';
    put_escaped(to, or_dash(value), most);
    to += '"';
  };
  put_escaped(to, or_dash(r.peer), most);
  to += " [";
  put_time(to, r.began);
  to += "] \"";
  put_escaped(to, or_dash(r.method), most);
  to += ' ';
  put_escaped(to, or_dash(r.target), most);
  to += " HTTP/1.";
  put_number(to, r.minor_version);
  to += '"';
  for (const std::int64_t n : {static_cast<std::int64_t>(r.status), static_cast<std::int64_t>(r.bytes_sent),
                               static_cast<std::int64_t>(r.bytes_received), micros(r.took)}) {
    to += ' ';
    put_number(to, n);
  }
  to += ' ';
  if (r.first_byte) {
    put_number(to, micros(*r.first_byte));
  } else {
    to += '-';
  }
  to += ' ';
  quoted(r.headers.find("User-Agent").value_or(""));
  to += ' ';
  quoted(r.headers.find("Referer").value_or(""));
  to += " id=";
  put_escaped(to, or_dash(r.id), most);
  to += " route=";
  quoted(r.route);
  to.append(" ").append(outcome(r));
  if (r.refused) to += " refused";
  return to;
}

}  // namespace

std::string access_line(const RequestRecord& record, AccessLogFormat format, std::size_t max_target) {
  return format == AccessLogFormat::kJson ? json_line(record, max_target) : text_line(record, max_target);
}

}  // namespace heddle::http
