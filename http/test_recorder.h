// Recorder: what a Handler answers to a made-up request. Go's httptest.ResponseRecorder, by way of the real server.
//
//     const Recorded answer = Recorder::run(handler, {.method = "POST", .target = "/a?b=c", .body = "text"});
//     EXPECT_EQ(answer.status, 201);
//     EXPECT_EQ(answer.header("Location"), "/a/1");
//
// The request is written as bytes to a TestServer, and the answer is read by the client's own parser. So what is seen is what
// would go over the wire: the server's checks of the request (a bad one gets its 400), limits, Date, Content-Length, HEAD
// without a body, a cut response. Only what the network does is left out.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/error.h>
#include <heddle/http/fields.h>
#include <heddle/http/options.h>
#include <heddle/http/server.h>
#include <heddle/net/address.h>

namespace heddle::http::test {

/// A request. Nothing of it is checked here: that is the server's.
struct TestRequest {
  std::string method = "GET";
  std::string target = "/";
  /// Sent in their order, behind a Host ("server.test") unless there is one.
  http::Fields fields = {};
  /// Sent with its Content-Length, unless `fields` have that or a Transfer-Encoding: then as it stands.
  std::string body = {};
  /// Sent in chunks instead: each element is one; `trailers` follow. Then `body` is not looked at.
  std::vector<std::string> chunks = {};
  http::Fields trailers = {};
  int minor_version = 1;     // of HTTP/1.x
  net::Address remote = {};  // who the handler takes the client for; empty: 192.0.2.1:49152
};

/// An answer.
struct Recorded {
  struct Informational {
    int status = 0;
    http::Fields fields;
  };

  int status = 0;  // 0: there was none
  http::Fields fields;
  std::string body;  // without its framing
  http::Fields trailers;
  std::vector<Informational> informational;  // 100, 103 …, in their order
  /// kOk: the answer is whole. Else why it is not: kEof if it was visibly cut, kProtocol for what a client would refuse.
  Error error = {};
  std::string raw;  // all bytes that came

  [[nodiscard]] bool whole() const noexcept { return error.code == Code::kOk; }
  /// The first field of that name, in any case; empty if there is none.
  [[nodiscard]] std::string header(std::string_view name) const { return std::string(fields.find(name).value_or("")); }
};

class Recorder {
 public:
  /// Runs `handler` on a connection of its own, and waits until it has returned. Its exceptions are the server's matter (500).
  ///
  /// Threads: any goroutine; outside heddle::run() it makes a run() of its own. Throws std::bad_alloc.
  [[nodiscard]] static Recorded run(const Handler& handler, const TestRequest& request = {},
                                    const ServerOptions& options = {});
};

}  // namespace heddle::http::test
