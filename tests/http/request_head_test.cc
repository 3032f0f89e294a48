// The head of a client's request as bytes: what stands in it, and that nothing a user gives can break out of its line.
#include <gtest/gtest.h>
#include <heddle/http/internal/request_head.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace heddle::http::test {
namespace {

ClientRequest request_for(std::string_view url, Method method = Method::kGet) {
  ClientRequest request;
  request.method = method;
  request.url = *Url::parse(url);
  return request;
}

/// The head, or "refused".
std::string head_of(const ClientRequest& request, const HeadExtras& extras = {}) {
  return check_request(request) ? write_request_head(request, extras) : "refused";
}

/// True if `head` is a request line, `fields` fields, the empty line, and no byte that could be read otherwise.
bool is_sound(std::string_view head, std::size_t fields) {
  if (!head.ends_with("\r\n\r\n") || head.find("\r\n\r\n") != head.size() - 4) return false;
  std::size_t lines = 0;
  for (std::size_t i = 0; i < head.size(); ++i) {
    const auto c = static_cast<unsigned char>(head[i]);
    if (c == '\r' && i + 1 < head.size() && head[i + 1] == '\n') {
      ++lines;
      ++i;
    } else if ((c < 0x20 && c != '\t') || c == 0x7f) {
      return false;
    }
  }
  const std::string_view line = head.substr(0, head.find("\r\n"));
  return lines == fields + 2 && std::ranges::count(line, ' ') == 2;
}

TEST(RequestHead, says_what_was_asked_and_no_more) {
  EXPECT_EQ(head_of(request_for("http://a/")), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(head_of(request_for("http://A:81/b?c#d", Method::kMsearch)),
            "M-SEARCH /b?c HTTP/1.1\r\nHost: a:81\r\n\r\n");
  EXPECT_EQ(head_of(request_for("http://[::1]/", Method::kPost)),
            "POST / HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(head_of(request_for("http+unix://%2Fs/x")), "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ClientRequest request = request_for("http://a/", Method::kPut);
  request.body = RequestBody::bytes("four");
  request.close = true;
  EXPECT_EQ(head_of(request), "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\n");
  request.body = RequestBody::stream(nullptr);
  request.close = false;
  EXPECT_EQ(head_of(request), "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
}

TEST(RequestHead, an_upgrade_may_close_as_well) {
  ClientRequest request = request_for("http://a/");
  ASSERT_TRUE(request.headers.set("Upgrade", "x"));
  EXPECT_EQ(head_of(request), "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
  request.close = true;
  EXPECT_EQ(head_of(request), "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: close, Upgrade\r\n\r\n");
}

TEST(RequestHead, cookies_make_one_field) {
  ClientRequest request = request_for("http://a/");
  HeadExtras extras;
  extras.cookies = "b=2";
  EXPECT_EQ(head_of(request, extras), "GET / HTTP/1.1\r\nHost: a\r\nCookie: b=2\r\n\r\n");
  ASSERT_TRUE(request.headers.set("cookie", "a=1"));
  EXPECT_EQ(head_of(request, extras), "GET / HTTP/1.1\r\nHost: a\r\ncookie: a=1; b=2\r\n\r\n");
}

// Each byte there is, at the beginning, in the middle and at the end of all that a user gives: it is refused, or it stays where
// it was put.
TEST(RequestHead, no_byte_breaks_out_of_its_line) {
  for (int value = 0; value < 256; ++value) {
    const std::string byte(1, static_cast<char>(value));
    for (const std::string& text :
         {byte + "a", "a" + byte + "a", "a" + byte, byte, "a" + byte + "\nB: c", "a\r" + byte + "B: c"}) {
      ClientRequest request = request_for("http://a/");
      if (request.headers.add(text, "v")) {
        const std::string head = head_of(request);
        EXPECT_TRUE(head == "refused" || is_sound(head, 2)) << "a name with byte " << value;
      }
      request = request_for("http://a/");
      if (request.headers.add("N", text)) {
        EXPECT_TRUE(is_sound(head_of(request), 2)) << "a value with byte " << value;
      }
      request = request_for("http://a/");
      if (request.headers.set("Host", text)) {
        const std::string head = head_of(request);
        EXPECT_TRUE(head == "refused" || is_sound(head, 1)) << "a Host with byte " << value;
      }
      for (const std::string& url : {"http://" + text + "/", "http://a:" + text + "/", "http://a/" + text,
                                     "http://a/?" + text, "http://a/#" + text, "http+unix://" + text + "/"}) {
        const Result<Url> parsed = Url::parse(url);
        if (!parsed) continue;
        for (const bool absolute : {false, true}) {
          HeadExtras extras;
          extras.absolute_target = absolute;
          request = {};
          request.url = *parsed;
          EXPECT_TRUE(is_sound(head_of(request, extras), 1)) << "a URL with byte " << value;
        }
        const Result<Url> resolved = Url().resolve(url);
        ASSERT_TRUE(resolved);
        request.url = *resolved;
        EXPECT_TRUE(is_sound(head_of(request), 1)) << "a reference with byte " << value;
      }
      if (const Result<Url> resolved = Url().resolve(text)) {
        request = {};
        request.url = *resolved;
        EXPECT_TRUE(is_sound(head_of(request), 1)) << "a relative reference with byte " << value;
      }
    }
  }
}

}  // namespace
}  // namespace heddle::http::test
