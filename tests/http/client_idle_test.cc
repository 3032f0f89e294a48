// The client and what comes on a connection of its pool that no request waits on: a server that says goodbye while a request is on
// its way.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

#include <heddle/core/test.h>
#include <heddle/http/test_upstream.h>

#include "client_test_util.h"

namespace heddle::http::test {
namespace {

TEST(ClientIdle, a_408_that_crosses_with_a_request_is_not_its_answer) {
  const std::string late = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
  const auto first = [] {
    return Script().expect_until("\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
  };
  const auto second = [](std::string_view request_end) {
    return Script()
        .expect_until(std::string(request_end))
        .send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")
        .expect_end();
  };
  const auto ask = [](const TestUpstream& upstream, Method method, RequestBody body, bool expect) {
    Client client = upstream.client(plain());
    EXPECT_EQ(told(client.get(upstream.url())), "200 [1]");
    ClientRequest request = request_to(upstream.url(), method);
    request.body = std::move(body);
    request.expect_continue = expect;
    std::string result = told(client.send(request));
    EXPECT_LE(client.stats().open, 1U);
    return result;
  };
  // Wherever it is split, and whatever the method: the server has got no whole request.
  heddle::test::run([&] {
    for (std::size_t cut = 0; cut < late.size(); ++cut) {
      const Script script = first().expect_until("\r\n\r\n").send_split(late, {cut}).half_close().expect_end();
      TestUpstream upstream({script, second("\r\n\r\nab")});
      EXPECT_EQ(ask(upstream, Method::kPost, RequestBody::bytes("ab"), cut % 2 == 1), "200 [2]") << cut;
    }
    for (const Method method : {Method::kGet, Method::kDelete, Method::kPatch}) {
      TestUpstream upstream({first().expect_until("\r\n\r\n").send(late), second("\r\n\r\n")});
      EXPECT_EQ(ask(upstream, method, {}, false), "200 [2]");
      EXPECT_EQ(upstream.problem(), "");
    }
    // Cut by the end of the connection; what is no 408 yet was an answer.
    for (std::size_t size = 1; size < late.size() - 2; ++size) {
      TestUpstream upstream({first().expect_until("\r\n\r\n").send(late.substr(0, size)), second("\r\n\r\n")});
      EXPECT_EQ(ask(upstream, Method::kGet, {}, false), size > 12 ? "200 [2]" : "end of stream") << size;
    }
  });
}

TEST(ClientIdle, a_408_that_may_be_meant_is_an_answer) {
  const auto ask = [](const std::string& answer, RequestBody body, bool reused) {
    Script script = Script().expect_until("\r\n\r\n");
    if (reused) script.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect_until("\r\n\r\n");
    TestUpstream upstream({script.send(answer)});
    std::string result;
    {
      Client client = upstream.client(plain());
      if (reused) {
        EXPECT_EQ(told(client.get(upstream.url())), "200 []");
      }
      ClientRequest request = request_to(upstream.url(), Method::kPut);
      request.body = std::move(body);
      result = told(client.send(request));
    }
    EXPECT_EQ(upstream.problem(), "");
    return result;
  };
  heddle::test::run([&] {
    const std::string late = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    const std::string stays = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\n\r\nno";
    const auto once = [] {
      return RequestBody::callback([n = 1](std::span<std::byte>) mutable -> Result<std::size_t> { return n--; });
    };
    EXPECT_EQ(ask(late, {}, false), "408 [no]") << "a fresh connection: nobody was idle";
    EXPECT_EQ(ask(stays, {}, true), "408 [no]") << "the server goes on: it has read the request";
    EXPECT_EQ(ask("HTTP/1.1 103 Early Hints\r\n\r\n" + late, {}, true), "408 [no]") << "it has seen the request";
    EXPECT_EQ(ask(late, once(), true), "408 [no]") << "a body that cannot be sent again";
  });
}

}  // namespace
}  // namespace heddle::http::test
