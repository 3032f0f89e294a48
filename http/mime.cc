#include <heddle/http/mime.h>

#include <algorithm>
#include <array>

#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>

namespace heddle::http {
namespace {

struct Row {
  std::string_view extension;
  std::string_view type;
};

// Sorted. Source: the IANA registry of media types; RFC 9239 for scripts, RFC 9512 for YAML. application/octet-stream
// stands for what is to be saved. XML is not text/xml: it says its charset itself, and a parameter would overrule it.
constexpr Row kTable[] = {
    {"7z", "application/x-7z-compressed"},
    {"aac", "audio/aac"},
    {"apk", "application/vnd.android.package-archive"},
    {"atom", "application/atom+xml"},
    {"avi", "video/x-msvideo"},
    {"avif", "image/avif"},
    {"bin", "application/octet-stream"},
    {"bmp", "image/bmp"},
    {"bz2", "application/x-bzip2"},
    {"c", "text/plain; charset=utf-8"},
    {"cc", "text/plain; charset=utf-8"},
    {"cfg", "text/plain; charset=utf-8"},
    {"cjs", "text/javascript; charset=utf-8"},
    {"conf", "text/plain; charset=utf-8"},
    {"cpp", "text/plain; charset=utf-8"},
    {"css", "text/css; charset=utf-8"},
    {"csv", "text/csv; charset=utf-8"},
    {"deb", "application/vnd.debian.binary-package"},
    {"dmg", "application/octet-stream"},
    {"doc", "application/msword"},
    {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {"eot", "application/vnd.ms-fontobject"},
    {"eps", "application/postscript"},
    {"epub", "application/epub+zip"},
    {"exe", "application/octet-stream"},
    {"flac", "audio/flac"},
    {"flv", "video/x-flv"},
    {"geojson", "application/geo+json"},
    {"gif", "image/gif"},
    {"go", "text/plain; charset=utf-8"},
    {"gz", "application/gzip"},
    {"h", "text/plain; charset=utf-8"},
    {"heic", "image/heic"},
    {"htm", "text/html; charset=utf-8"},
    {"html", "text/html; charset=utf-8"},
    {"ico", "image/vnd.microsoft.icon"},
    {"ics", "text/calendar; charset=utf-8"},
    {"img", "application/octet-stream"},
    {"iso", "application/octet-stream"},
    {"jar", "application/java-archive"},
    {"java", "text/plain; charset=utf-8"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript; charset=utf-8"},
    {"json", "application/json"},
    {"jsonld", "application/ld+json"},
    {"jxl", "image/jxl"},
    {"kml", "application/vnd.google-earth.kml+xml"},
    {"log", "text/plain; charset=utf-8"},
    {"m3u8", "application/vnd.apple.mpegurl"},
    {"m4a", "audio/mp4"},
    {"m4v", "video/mp4"},
    {"map", "application/json"},
    {"md", "text/markdown; charset=utf-8"},
    {"mid", "audio/midi"},
    {"midi", "audio/midi"},
    {"mjs", "text/javascript; charset=utf-8"},
    {"mkv", "video/matroska"},
    {"mov", "video/quicktime"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpd", "application/dash+xml"},
    {"mpeg", "video/mpeg"},
    {"mpg", "video/mpeg"},
    {"msi", "application/octet-stream"},
    {"odp", "application/vnd.oasis.opendocument.presentation"},
    {"ods", "application/vnd.oasis.opendocument.spreadsheet"},
    {"odt", "application/vnd.oasis.opendocument.text"},
    {"oga", "audio/ogg"},
    {"ogg", "audio/ogg"},
    {"ogv", "video/ogg"},
    {"opus", "audio/ogg"},
    {"otf", "font/otf"},
    {"pdf", "application/pdf"},
    {"pem", "application/x-pem-file"},
    {"png", "image/png"},
    {"ppt", "application/vnd.ms-powerpoint"},
    {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {"ps", "application/postscript"},
    {"py", "text/plain; charset=utf-8"},
    {"rar", "application/vnd.rar"},
    {"rdf", "application/rdf+xml"},
    {"rpm", "application/x-rpm"},
    {"rs", "text/plain; charset=utf-8"},
    {"rss", "application/rss+xml"},
    {"rtf", "application/rtf"},
    {"sh", "text/plain; charset=utf-8"},
    {"sql", "application/sql"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"tgz", "application/gzip"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"toml", "application/toml"},
    {"ts", "video/mp2t"},
    {"tsv", "text/tab-separated-values; charset=utf-8"},
    {"ttf", "font/ttf"},
    {"txt", "text/plain; charset=utf-8"},
    {"vtt", "text/vtt; charset=utf-8"},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"weba", "audio/webm"},
    {"webm", "video/webm"},
    {"webmanifest", "application/manifest+json"},
    {"webp", "image/webp"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"xhtml", "application/xhtml+xml"},
    {"xls", "application/vnd.ms-excel"},
    {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    {"xml", "application/xml"},
    {"xsl", "application/xslt+xml"},
    {"xz", "application/x-xz"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
    {"zst", "application/zstd"},
};
static_assert(std::ranges::is_sorted(kTable, {}, &Row::extension));

constexpr std::size_t kLongest = 16;
static_assert(std::ranges::all_of(kTable, [](const Row& row) { return row.extension.size() <= kLongest; }));

// What follows the last dot of the last part of a path; ".profile" has none.
std::string_view extension_of(std::string_view path) noexcept {
  const std::string_view name = path.substr(path.rfind('/') + 1);  // npos + 1 is 0
  const std::size_t dot = name.rfind('.');
  return dot == std::string_view::npos || dot == 0 ? std::string_view() : name.substr(dot + 1);
}

// In small letters; empty if it is longer than any that is known.
std::string_view lowered(std::string_view text, std::array<char, kLongest>& room) noexcept {
  if (text.size() > room.size()) return {};
  std::ranges::transform(text, room.begin(), chars::lower);
  return {room.data(), text.size()};
}

bool starts_with_fold(std::string_view text, std::string_view prefix) noexcept {
  return text.size() >= prefix.size() && equal_fold(text.substr(0, prefix.size()), prefix);
}
bool ends_with_fold(std::string_view text, std::string_view suffix) noexcept {
  return text.size() >= suffix.size() && equal_fold(text.substr(text.size() - suffix.size()), suffix);
}

}  // namespace

std::string_view media_type_of(std::string_view path) noexcept {
  std::array<char, kLongest> room;
  const std::string_view extension = lowered(extension_of(path), room);
  const auto* const row = std::ranges::lower_bound(kTable, extension, {}, &Row::extension);
  return row != std::end(kTable) && row->extension == extension ? row->type : std::string_view();
}

bool is_compressible(std::string_view media_type) noexcept {
  static constexpr std::string_view kTypes[] = {
      "application/geo+json",
      "application/javascript",
      "application/json",
      "application/manifest+json",
      "application/rtf",
      "application/sql",
      "application/toml",
      "application/wasm",
      "application/x-ndjson",
      "application/x-tar",
      "application/xml",
      "application/yaml",
      "application/graphql",
      "application/postscript",
      "font/otf",
      "font/ttf",
      "image/bmp",
      "image/svg+xml",
      "application/x-yaml",
      "image/vnd.microsoft.icon",
  };
  const std::string_view type = trim_blanks(media_type.substr(0, media_type.find(';')));
  if (starts_with_fold(type, "text/") || ends_with_fold(type, "+json") || ends_with_fold(type, "+xml")) return true;
  return std::ranges::any_of(kTypes, [type](std::string_view one) { return equal_fold(type, one); });
}

void MediaTypes::set(std::string_view extension, std::string_view type) {
  std::string key(extension);
  std::ranges::transform(key, key.begin(), chars::lower);
  changes_.insert_or_assign(std::move(key), std::string(type));
}

std::string_view MediaTypes::of(std::string_view path) const {
  if (!changes_.empty()) {
    std::string extension(extension_of(path));
    std::ranges::transform(extension, extension.begin(), chars::lower);
    if (const auto change = changes_.find(extension); change != changes_.end()) {
      return change->second.empty() ? std::string_view(default_) : std::string_view(change->second);
    }
  }
  const std::string_view type = media_type_of(path);
  return type.empty() ? std::string_view(default_) : type;
}

}  // namespace heddle::http
