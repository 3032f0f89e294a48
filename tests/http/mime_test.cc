// Media types: the table, its letters' case, its changes, and what is worth compressing.
#include <heddle/http/mime.h>

#include <gtest/gtest.h>

#include <string>

namespace heddle::http {
namespace {

TEST(Mime, the_type_follows_the_last_dot_of_the_last_part) {
  EXPECT_EQ(media_type_of("index.html"), "text/html; charset=utf-8");
  EXPECT_EQ(media_type_of("/a.png/b.JS"), "text/javascript; charset=utf-8");
  EXPECT_EQ(media_type_of("a.tar.gz"), "application/gzip");
  EXPECT_EQ(media_type_of("data.json"), "application/json");
  EXPECT_EQ(media_type_of("7z.7z"), "application/x-7z-compressed");  // the first row
  EXPECT_EQ(media_type_of("a.zst"), "application/zstd");             // and the last
  EXPECT_EQ(media_type_of("a.wasm"), "application/wasm");
}

TEST(Mime, what_is_not_known_has_no_type) {
  for (const char* path : {"", "README", ".html", "a/.js", "a.html/README", "a.", "a.html.", "a.htmlx", "a.zzz",
                           "a.averylongextensionindeed", "a.html/"}) {
    EXPECT_EQ(media_type_of(path), "") << path;
    EXPECT_EQ(MediaTypes().of(path), "application/octet-stream") << path;
  }
}

TEST(Mime, the_table_can_be_changed) {
  MediaTypes types;
  types.set("HTML", "text/plain");
  types.set("foo", "application/x-foo");
  types.set("png", "");
  EXPECT_EQ(types.of("a.html"), "text/plain");
  EXPECT_EQ(types.of("a.FOO"), "application/x-foo");
  EXPECT_EQ(types.of("a.png"), "application/octet-stream");
  EXPECT_EQ(types.of("a.css"), "text/css; charset=utf-8");
  types.set_default("");
  EXPECT_EQ(types.of("a.png"), "");
  EXPECT_EQ(types.of("a"), "");
  types.set("", "text/x-bare");
  EXPECT_EQ(types.of("README"), "text/x-bare");
}

TEST(Mime, text_is_compressible_and_pictures_are_not) {
  for (const char* type : {"text/html", "text/html; charset=utf-8", "Text/Plain", "application/json ;x=y",
                           "application/problem+json", "image/svg+xml", "application/wasm", "text/event-stream"}) {
    EXPECT_TRUE(is_compressible(type)) << type;
  }
  for (const char* type : {"", "image/png", "application/gzip", "application/octet-stream", "video/mp4", "font/woff2",
                           "textual/html", "json", "application/pdf"}) {
    EXPECT_FALSE(is_compressible(type)) << type;
  }
}

}  // namespace
}  // namespace heddle::http
