// Base64: the RFC's examples, each alphabet, and that every string of bytes has one text and no other.
#include <heddle/http/base64.h>

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace heddle::http {
namespace {

using namespace std::string_literals;

constexpr Base64 kAll[] = {Base64::kStd, Base64::kUrl, Base64::kRawStd, Base64::kRawUrl};

struct Case {
  std::string bytes;
  const char* std;
  const char* url;
  const char* raw_std;
  const char* raw_url;

  [[nodiscard]] const char* text(Base64 encoding) const {
    switch (encoding) {
      case Base64::kStd: return std;
      case Base64::kUrl: return url;
      case Base64::kRawStd: return raw_std;
      case Base64::kRawUrl: return raw_url;
    }
    return nullptr;
  }
};

// RFC 4648 s10 and beyond.
const Case kCases[] = {
    {"", "", "", "", ""},
    {"f", "Zg==", "Zg==", "Zg", "Zg"},
    {"fo", "Zm8=", "Zm8=", "Zm8", "Zm8"},
    {"foo", "Zm9v", "Zm9v", "Zm9v", "Zm9v"},
    {"foob", "Zm9vYg==", "Zm9vYg==", "Zm9vYg", "Zm9vYg"},
    {"fooba", "Zm9vYmE=", "Zm9vYmE=", "Zm9vYmE", "Zm9vYmE"},
    {"foobar", "Zm9vYmFy", "Zm9vYmFy", "Zm9vYmFy", "Zm9vYmFy"},
    {"\0"s, "AA==", "AA==", "AA", "AA"},
    {"\0\0\0"s, "AAAA", "AAAA", "AAAA", "AAAA"},
    {"\xff\xff\xff", "////", "____", "////", "____"},
    {"\xfb\xff\xbf", "+/+/", "-_-_", "+/+/", "-_-_"},
    {"\xfb\xf0", "+/A=", "-_A=", "+/A", "-_A"},
    {"\x14\xfb\x9c\x03\xd9\x7e", "FPucA9l+", "FPucA9l-", "FPucA9l+", "FPucA9l-"},
};

TEST(Base64, is_as_the_rfc_has_it_in_each_encoding) {
  for (const Case& c : kCases) {
    for (const Base64 encoding : kAll) {
      EXPECT_EQ(encode_base64(c.bytes, encoding), c.text(encoding));
      EXPECT_EQ(decode_base64(c.text(encoding), encoding), c.bytes) << c.text(encoding);
    }
    EXPECT_EQ(encode_base64(c.bytes), c.std);
    EXPECT_EQ(decode_base64(c.std), c.bytes);
  }
}

TEST(Base64, what_is_not_to_the_letter_is_refused) {
  for (const char* bad : {"Z",    "Zg",       "Zg=",      "Zg===",    "Z===",     "====",   "==",        "=",    "Zh==",
                          "Zm9=", "Zm8=Zm8=", "Zg==Zg==", "Zm 8",     "Zm8\n",    "Zm8=\n", " Zm8=",     "Zm-_", "Z=g=",
                          "=Zg=", "Zm9vZg",   "Zm9vZ",    "Zm9vZ===", "Zm9v====", "Zm9v=",  "Zm\xc3\xa9"})
    EXPECT_EQ(decode_base64(bad), std::nullopt) << bad;
  for (const char* bad : {"Z", "Zg==", "Zm8=", "Zh", "Zm9", "+/+/", "Zm9vZ", "=", "Zg.", "Zg\n"})
    EXPECT_EQ(decode_base64(bad, Base64::kRawUrl), std::nullopt) << bad;
  EXPECT_EQ(decode_base64("+/+/", Base64::kUrl), std::nullopt);
  EXPECT_EQ(decode_base64("-_-_", Base64::kRawStd), std::nullopt);
  EXPECT_EQ(decode_base64("Zm8\0"s), std::nullopt);
}

// Over all texts of up to two characters: the ones that are read are the ones that are written.
TEST(Base64, each_string_of_bytes_has_one_text) {
  for (const Base64 encoding : {Base64::kRawStd, Base64::kRawUrl}) {
    std::set<std::string> written;
    for (int byte = 0; byte < 256; ++byte)
      written.insert(encode_base64(std::string(1, static_cast<char>(byte)), encoding));
    EXPECT_EQ(written.size(), 256u);
    for (int a = 0; a < 256; ++a) {
      EXPECT_FALSE(decode_base64(std::string(1, static_cast<char>(a)), encoding));
      for (int b = 0; b < 256; ++b) {
        const std::string text{static_cast<char>(a), static_cast<char>(b)};
        const auto bytes = decode_base64(text, encoding);
        ASSERT_EQ(bytes.has_value(), written.contains(text)) << a << ' ' << b;
        if (bytes) {
          ASSERT_EQ(encode_base64(*bytes, encoding), text);
        }
      }
    }
  }
}

TEST(Base64, any_bytes_of_any_length_come_back) {
  std::string bytes;
  for (unsigned i = 0; i < 300; ++i) {
    for (const Base64 encoding : kAll) {
      const std::string text = encode_base64(bytes, encoding);
      ASSERT_EQ(decode_base64(text, encoding), bytes) << i;
      for (const Base64 other : kAll) {
        if (const auto read = decode_base64(text, other)) {
          ASSERT_EQ(read, bytes) << "read as another encoding";
        }
      }
    }
    bytes += static_cast<char>(i * 167 + i / 5);
  }
}

}  // namespace
}  // namespace heddle::http
