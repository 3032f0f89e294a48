// Which heads take the short cut, and what is left of one that does not. What the short cut makes of a head is compared with
// llhttp in head_parser_test.cc and by the fuzzer of heads: both give every head whole and in pieces.
#include <heddle/http/internal/plain_head.h>

#include <string>
#include <utility>
#include <vector>

#include "http_test.h"

namespace heddle::http::test {
namespace {

// An exchange with `bytes` in it, as parse_head() finds it.
class Given {
 public:
  explicit Given(const std::string& bytes, const HeadLimits& limits = {}) : limits_(limits), x_(*Exchange::take()) {
    x_.limits = &limits_;
    while (x_.room() < bytes.size()) EXPECT_TRUE(x_.grow(limits_.max_head));
    x_.append(std::as_bytes(std::span(bytes)));
    x_.visible = x_.filled;
  }
  ~Given() { x_.give(); }
  Given(const Given&) = delete;
  Given& operator=(const Given&) = delete;

  Exchange* operator->() { return &x_; }
  Exchange& operator*() { return x_; }

 private:
  HeadLimits limits_;
  Exchange& x_;
};

TEST(PlainHead, what_common_clients_send_takes_the_short_cut) {
  const std::pair<std::string, std::string> heads[] = {
      {"wrk", "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"},
      {"ab",
       "GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: a:1\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n"},
      {"curl",
       "POST /post?a=b&c=%20d HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
       "Content-Length: 1048576\r\nContent-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n\r\n"},
      {"Go",
       "PUT /r%C3%A9sum%C3%A9/%2F HTTP/1.1\r\nHost: [::1]:80\r\nUser-Agent: Go-http-client/1.1\r\n"
       "Content-Length: 5\r\nAccept-Encoding: gzip\r\n\r\nhello"},
      {"a browser",
       "GET /chat HTTP/1.1\r\nHost: example.org\r\nConnection: Upgrade\r\nPragma: no-cache\r\n"
       "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
       "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
       "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept-Language: de,en;q=0.9\tx\r\nX: caf\xc3\xa9\r\n\r\n"},
  };
  for (const auto& [who, bytes] : heads) {
    Given x(bytes);
    EXPECT_TRUE(read_plain_head(*x)) << who;
    EXPECT_EQ(x->phase, Exchange::Phase::kBody) << who;
    EXPECT_EQ(x->read, bytes.find("\r\n\r\n") + 4) << who;
  }
}

TEST(PlainHead, anything_else_is_left_as_it_was) {
  const std::vector<std::string> heads = {
      "GET / HTTP/1.1\r\nHost: a\r\n\r",                                               // not whole
      "GET / HTTP/1.1\r\nHost: a\r\n",                                                 //
      "G",                                                                             //
      "GET / HTTP/1.1\r\n\r\n",                                                        // no Host
      "GET / HTTP/1.0\r\n\r\n",                                                        // right, and rare
      "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",                                  // two
      "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",                                           //
      "GET / HTTP/1.1\nHost: a\n\n",                                                   //
      "GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n",                               //
      "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",                               // folded
      "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",                                    //
      "GET / HTTP/1.1\r\nHost: a\r\nA: b\x01\r\n\r\n",                                 //
      "GET / HTTP/1.1\r\nHost: a\r\nA: 12345678\x7f\r\n\r\n",                          //
      std::string("GET / HTTP/1.1\r\nHost: a\r\nA: 1234567\0\r\n\r\n", 41),            //
      "GET / HTTP/1.2\r\nHost: a\r\n\r\n",                                             //
      "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",                                            //
      "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",                                          //
      "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",                                          //
      "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",                                     //
      "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",                                         //
      "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",                                       //
      "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",                                           //
      "get / HTTP/1.1\r\nHost: a\r\n\r\n",                                             //
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",              //
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",  //
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",                      //
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000000\r\n\r\n",         // too much: for others to say
      "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n",                              //
  };
  for (const std::string& bytes : heads) {
    Given x(bytes);
    EXPECT_FALSE(read_plain_head(*x)) << bytes;
    EXPECT_EQ(x->phase, Exchange::Phase::kBlank) << bytes;
    EXPECT_EQ(x->header_count, 0U) << bytes;
    EXPECT_EQ(x->scanned, 0U) << bytes;
    EXPECT_EQ(x->head.host_size + x->head.target_size + x->head.path_size, 0U) << bytes;
    EXPECT_FALSE(x->head.expect_continue) << bytes;
    EXPECT_TRUE(x->body.done) << bytes;
  }
}

TEST(PlainHead, limits_are_not_passed) {
  const std::string fields = "\r\nHost: a\r\nA: b\r\n\r\n";
  const HeadLimits limits{.max_target = 10, .max_head = 60, .max_headers = 2};
  EXPECT_TRUE(read_plain_head(*Given("GET /234567890 HTTP/1.1" + fields, limits)));
  EXPECT_FALSE(read_plain_head(*Given("GET /2345678901 HTTP/1.1" + fields, limits)));
  EXPECT_FALSE(read_plain_head(*Given("GET / HTTP/1.1\r\nB: c" + fields, limits)));
  const std::string line = "GET / HTTP/1.1\r\nHost: a\r\nA: ";
  EXPECT_TRUE(read_plain_head(*Given(line + std::string(56 - line.size(), 'x') + "\r\n\r\n", limits)));
  EXPECT_FALSE(read_plain_head(*Given(line + std::string(57 - line.size(), 'x') + "\r\n\r\n", limits)));
}

}  // namespace
}  // namespace heddle::http::test
