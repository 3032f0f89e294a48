// heddle-httpbin as a process, asked by our own client: each endpoint, what they refuse, and the flags' limits.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/cookie_jar.h>
#include <heddle/http/websocket.h>
#include <heddle/net/tcp.h>

#include "httpbin_util.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;
using http::Client;
using http::Method;
using http::RequestBody;

using Fields = std::vector<std::pair<std::string, std::string>>;

// Runs `body` with a server and a client for it, and ends the server by SIGTERM.
template <class Body>
void with_httpbin(std::vector<std::string> flags, Body body) {
  run([&] {
    Httpbin server(std::move(flags));
    Client client(plain_options());
    body(server, client);
    client.close_idle();
    EXPECT_EQ(server.stop(), 0);
  });
}

TEST(Httpbin, each_endpoint_answers) {
  struct Case {
    Method method;
    const char* path;
    Fields fields;
    const char* body;
    int status;
    const char* part;  // of the answer's body
  };
  const Case cases[] = {
      {Method::kGet, "/plaintext", {}, "", 200, "Hello, World!"},
      {Method::kGet, "/json", {}, "", 200, R"({"message":"Hello, World!"})"},
      {Method::kGet, "/status/204", {}, "", 204, ""},
      {Method::kPost, "/status/418", {}, "x", 418, ""},
      {Method::kGet, "/status/599", {}, "", 599, ""},
      {Method::kGet, "/status/418,418", {}, "", 418, ""},
      {Method::kGet, "/status/418:1000,418", {}, "", 418, ""},
      {Method::kGet, "/headers", {{"X-A", "b"}}, "", 200, R"("X-A":"b")"},
      {Method::kGet, "/delay/1", {}, "", 200, R"({"delay_ms":1})"},
      {Method::kGet, "/chunked/0", {}, "", 200, ""},
      {Method::kGet, "/chunked/2", {}, "", 200, "chunk 0\nchunk 1\n"},
      {Method::kGet, "/redirect/1", {}, "", 200, "/get"},
      {Method::kGet, "/redirect/7", {}, "", 200, "/get"},
      {Method::kGet, "/relative-redirect/2", {}, "", 200, "/get"},
      {Method::kGet, "/absolute-redirect/2", {}, "", 200, "/get"},
      {Method::kGet, "/redirect-to?url=%2Fplaintext", {}, "", 200, "Hello, World!"},
      {Method::kPost, "/redirect-to?url=/echo&status_code=307", {}, "again", 200, "again"},
      {Method::kGet, "/panic", {}, "", 500, "500 Internal Server Error"},
      {Method::kGet, "/spin/1", {}, "", 200, R"("spin_ms":1)"},
      {Method::kGet, "/block/1", {}, "", 200, R"({"block_ms":1})"},
      {Method::kGet, "/get?a=1&a=2&b=%20x", {}, "", 200, R"({"args":{"a":["1","2"],"b":" x"},)"},
      {Method::kPost, "/post", {{"Content-Type", "application/x-www-form-urlencoded"}}, "k=v+w", 200, R"({"k":"v w"})"},
      {Method::kPut, "/put", {{"Content-Type", "application/json"}}, "[1,{}]", 200, R"("json":[1,{}])"},
      {Method::kPatch, "/patch", {}, "text", 200, R"("data":"text")"},
      {Method::kDelete, "/delete", {}, "", 200, R"("data":"")"},
      {Method::kReport, "/anything/at/all", {}, "", 200, R"("method":"REPORT")"},
      {Method::kPost,
       "/post",
       {{"Content-Type", "multipart/form-data; boundary=b"}},
       "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\n\r\nin it\r\n--b--\r\n",
       200,
       R"("files":{"f":"in it"})"},
      {Method::kPost,
       "/upload",
       {{"Content-Type", "multipart/form-data; boundary=b"}},
       "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\n\r\n123456789\r\n--b--\r\n",
       200,
       R"({"parts":[{"crc32":3421780262,"filename":"n","name":"f","size":9}]})"},
      {Method::kPost, "/upload", {{"Content-Type", "text/plain"}}, "x", 415, "error"},
      {Method::kGet, "/ip", {}, "", 200, R"({"origin":"127.0.0.1"})"},
      {Method::kGet, "/user-agent", {{"User-Agent", "me"}}, "", 200, R"({"user-agent":"me"})"},
      {Method::kGet, "/uuid", {}, "", 200, R"({"uuid":")"},
      {Method::kGet, "/range/5", {}, "", 200, "abcde"},
      {Method::kGet, "/stream/2", {}, "", 200, R"("id":1)"},
      {Method::kGet, "/drip?duration=0.01&numbytes=7", {}, "", 200, "*******"},
      {Method::kGet, "/drip?duration=0&numbytes=3&code=500", {}, "", 500, "***"},
      {Method::kGet, "/gzip", {}, "", 200, R"("gzipped":true)"},
      {Method::kGet, "/gzip", {{"Accept-Encoding", "br"}}, "", 200, R"("gzipped":false)"},
      {Method::kGet, "/brotli", {}, "", 200, R"("brotli":true)"},
      {Method::kGet, "/zstd", {}, "", 200, R"("zstd":true)"},
      {Method::kGet, "/deflate", {}, "", 200, R"("deflated":false)"},
      {Method::kGet, "/deflate", {{"Accept-Encoding", "deflate"}}, "", 200, "\x78"},
      {Method::kGet, "/cookies", {{"Cookie", "a=1; b=2"}}, "", 200, R"({"cookies":{"a":"1","b":"2"}})"},
      {Method::kGet, "/basic-auth/u/p", {}, "", 401, R"({"authenticated":false})"},
      {Method::kGet, "/basic-auth/u/p", {{"Authorization", "Basic dTpw"}}, "", 200, R"("user":"u")"},
      {Method::kGet, "/basic-auth/u/q", {{"Authorization", "Basic dTpw"}}, "", 401, ""},
      {Method::kGet, "/bearer", {}, "", 401, ""},
      {Method::kGet, "/bearer", {{"Authorization", "Bearer t.k"}}, "", 200, R"("token":"t.k")"},
      {Method::kGet, "/hidden-basic-auth/u/p", {}, "", 404, ""},
      {Method::kGet, "/hidden-basic-auth/u/p", {{"Authorization", "Basic dTpw"}}, "", 200, R"("user":"u")"},
      {Method::kGet, "/cache", {}, "", 200, "/cache"},
      {Method::kGet, "/cache", {{"If-None-Match", "\"x\""}}, "", 304, ""},
      {Method::kGet, "/cache/60", {}, "", 200, "/cache/60"},
      {Method::kGet, "/etag/v1", {{"If-None-Match", "\"v0\", W/\"v1\""}}, "", 304, ""},
      {Method::kGet, "/etag/v1", {{"If-Match", "\"v2\""}}, "", 412, ""},
      {Method::kGet, "/etag/v1", {{"If-Match", "\"v1\""}}, "", 200, "/etag/v1"},
      {Method::kGet, "/set-header?name=X-A&value=b", {}, "", 200, R"({"name":"X-A","value":"b"})"},
      {Method::kGet, "/response-headers?A=1&A=2", {}, "", 200, R"({"A":["1","2"]})"},
      {Method::kGet, "/", {}, "", 200, "new EventSource("},
      {Method::kGet, "/html", {}, "", 200, "<h1>The weaver</h1>"},
      {Method::kGet, "/xml", {}, "", 200, "<?xml version=\"1.0\""},
      {Method::kGet, "/encoding/utf8", {}, "", 200, "∀x∈ℝ"},
      {Method::kGet, "/forms/post", {}, "", 200, "action=\"/post\""},
      {Method::kGet, "/robots.txt", {}, "", 200, "Disallow: /deny"},
      {Method::kGet, "/deny", {}, "", 200, "robots.txt"},
      {Method::kGet, "/image", {}, "", 200, "\x89PNG\r\n\x1a\n"},
      {Method::kGet, "/image", {{"Accept", "image/webp, image/*;q=0.5, image/svg+xml"}}, "", 200, "<svg"},
      {Method::kGet, "/image", {{"Accept", "text/html"}}, "", 406, R"({"accept":["image/png","image/svg+xml"]})"},
      {Method::kGet, "/image/png", {{"Accept", "text/html"}}, "", 200, "IHDR"},
      {Method::kGet, "/image/svg", {}, "", 200, "<svg"},
      {Method::kGet, "/links/3", {}, "", 200, "0 <a href=\"/links/3/1\">1</a> <a href=\"/links/3/2\">2</a> </body>"},
      {Method::kGet, "/links/2/1", {}, "", 200, "<a href=\"/links/2/0\">0</a> 1 </body>"},
      {Method::kGet, "/base64/aGVkZGxl", {}, "", 200, "heddle"},
      {Method::kGet, "/base64/decode/-_8", {}, "", 200, "\xfb\xff"},
      {Method::kGet, "/base64/-_8=", {}, "", 200, "\xfb\xff"},
      {Method::kGet, "/base64/encode/a%2Fb%FB%FF", {}, "", 200, "YS9i-_8="},
      {Method::kGet, "/sse?count=2&interval=0", {}, "", 200, "id: 2\n"},
      {Method::kGet, "/sse?count=2&interval=0", {{"Last-Event-ID", "1"}}, "", 200, "id: 2\n"},
      {Method::kGet, "/sse?count=2", {{"Last-Event-ID", "2"}}, "", 204, ""},
      {Method::kGet, "/nothing", {}, "", 404, ""},
      {Method::kGet, "/static/x", {}, "", 404, ""},  // without --root
      {Method::kGet, "/echo", {}, "", 405, ""},
  };
  with_httpbin({}, [&](Httpbin& server, Client& client) {
    for (const Case& c : cases) {
      const Answer answer =
          ask(client, c.method, server.url() + c.path, c.fields, *c.body ? RequestBody::bytes(c.body) : RequestBody());
      EXPECT_EQ(answer.status, c.status) << c.path;
      EXPECT_NE(answer.body.find(c.part), std::string::npos) << c.path << ": " << answer.body;
      EXPECT_NE(answer.field("Date"), "") << c.path;
    }
  });
}

TEST(Httpbin, what_is_out_of_bounds_is_a_400_that_says_so) {
  const char* const paths[] = {
      "/status/199",
      "/status/600",
      "/status/x",
      "/status/-1",
      "/status/200x",
      "/status/200,",
      "/status/,200",
      "/status/200:0",
      "/status/200:1001",
      "/status/200:1:1",
      "/status/200,100",
      "/links/0",
      "/links/201",
      "/links/3/x",
      "/base64/a",
      "/base64/a+b=",
      "/base64/YQ=",
      "/base64/decode/%20",
      "/delay/600001",
      "/delay/99999999999999999999",
      "/delay/1.5",
      "/chunked/100001",
      "/redirect/0",
      "/redirect/101",
      "/absolute-redirect/0",
      "/redirect-to",
      "/redirect-to?url=javascript:1",
      "/redirect-to?url=/%0d%0aX:y",
      "/redirect-to?url=/&status_code=200",
      "/spin/60001",
      "/block/60001",
      "/bytes/1073741825",
      "/bytes/1?seed=x",
      "/stream-bytes/1?chunk_size=0",
      "/range/1073741825",
      "/stream/10001",
      "/drip?duration=601",
      "/drip?duration=-1",
      "/drip?duration=nan",
      "/drip?numbytes=0",
      "/drip?code=204",
      "/sse?count=100001",
      "/sse?interval=60001",
      "/etag/a%22b",
      "/cookies/set?a=%0d%0a",
      "/cookies/set?a=1&b=%3b",
      "/cookies/set/a/%20",
      "/cache/-1",
      "/set-header",
      "/set-header?name=a",
      "/response-headers?a%20b=1",
  };
  with_httpbin({}, [&](Httpbin& server, Client& client) {
    for (const char* path : paths) {
      const Answer answer = ask(client, Method::kGet, server.url() + path);
      EXPECT_EQ(answer.status, 400) << path;
      EXPECT_NE(answer.json().value("error", ""), "") << path << ": " << answer.body;
      EXPECT_EQ(answer.field("Set-Cookie"), "") << path;
    }
  });
}

TEST(Httpbin, a_response_cannot_be_split) {
  with_httpbin({}, [](Httpbin& server, Client& client) {
    for (const char* text : {"%0d%0aX-Evil:1", "%0aX-Evil:1", "%0d", "%7f", "a%0d%0a%0d%0a%3chtml%3e", "%01"}) {
      for (const std::string& query :
           {"name=X-A&value=b" + std::string(text), "name=X-A" + std::string(text) + "&value=b"}) {
        const Answer answer = ask(client, Method::kGet, server.url() + "/set-header?" + query);
        EXPECT_EQ(answer.status, 400) << query;
        EXPECT_EQ(answer.fields.count("X-Evil") + answer.fields.count("X-A"), 0u) << query;
      }
      const Answer both = ask(client, Method::kGet, server.url() + "/response-headers?X-A=1&X-B=b" + text);
      EXPECT_EQ(both.status, 400) << text;
      EXPECT_EQ(both.fields.count("X-A"), 0u) << text;
    }
    for (const char* name :
         {"Content-Length", "transfer-encoding", "Connection", "Date", "", "a%20b", "a:", "%c3%a4"}) {
      const Answer answer = ask(client, Method::kGet, server.url() + "/set-header?value=5&name=" + name);
      EXPECT_EQ(answer.status, 400) << name;
    }
    // Bytes beyond ASCII are a value's data, also those whose low halves are CR and LF in UTF-16.
    EXPECT_EQ(ask(client, Method::kGet, server.url() + "/set-header?name=X-A&value=%c4%8d%c4%8aX-Evil:1").field("X-A"),
              "\xc4\x8d\xc4\x8aX-Evil:1");
    EXPECT_EQ(client.stats().open, 1u);  // no connection was lost on the way
  });
}

TEST(Httpbin, redirects_and_cookies_are_followed_and_kept) {
  with_httpbin({}, [](Httpbin& server, Client&) {
    http::ClientOptions options = plain_options();
    options.cookies = std::make_shared<http::CookieJar>();
    Client client(options);
    const auto cookies = [&](const char* path) {
      return ask(client, Method::kGet, server.url() + path).json()["cookies"];
    };
    EXPECT_EQ(ask(client, Method::kGet, server.url() + "/redirect/10").url, server.url() + "/get");
    EXPECT_EQ(cookies("/cookies/set?a=1&b=2"), nlohmann::json({{"a", "1"}, {"b", "2"}}));
    EXPECT_EQ(cookies("/cookies/set/c/3"), nlohmann::json({{"a", "1"}, {"b", "2"}, {"c", "3"}}));
    EXPECT_EQ(cookies("/cookies/delete?a&b"), nlohmann::json({{"c", "3"}}));
  });
}

TEST(Httpbin, made_bytes_are_the_same_however_they_come) {
  with_httpbin({}, [](Httpbin& server, Client& client) {
    const auto get = [&](const std::string& path, const Fields& fields = {}) {
      return ask(client, Method::kGet, server.url() + path, fields);
    };
    const Answer whole = get("/bytes/100003?seed=7");
    EXPECT_EQ(whole.field("Content-Length"), "100003");
    ASSERT_EQ(whole.body.size(), 100'003u);
    const Answer pieces = get("/stream-bytes/100003?seed=7&chunk_size=999");
    EXPECT_EQ(pieces.field("Transfer-Encoding"), "chunked");
    EXPECT_TRUE(pieces.body == whole.body);
    EXPECT_FALSE(get("/bytes/100003?seed=8").body == whole.body);

    const std::string letters = get("/range/1000").body;
    const Answer part = get("/range/1000", {{"Range", "bytes=27-80"}});
    EXPECT_EQ(part.status, 206);
    EXPECT_EQ(part.field("Content-Range"), "bytes 27-80/1000");
    EXPECT_EQ(part.body, letters.substr(27, 54));
    EXPECT_EQ(get("/range/1000", {{"Range", "bytes=-3"}}).body, letters.substr(997));
    EXPECT_EQ(get("/range/1000", {{"Range", "bytes=0-1"}, {"If-Range", "\"range1000\""}}).body, "ab");
    EXPECT_EQ(get("/range/1000", {{"Range", "bytes=0-1"}, {"If-Range", "\"range1\""}}).body, letters);
    EXPECT_EQ(get("/range/1000", {{"Range", "bytes=1000-"}}).field("Content-Range"), "bytes */1000");
    EXPECT_EQ(get("/range/1000", {{"If-None-Match", "\"range1000\""}}).status, 304);

    const Answer sound = get("/tone.wav", {{"Range", "bytes=0-99"}});
    EXPECT_EQ(sound.status, 206);
    EXPECT_EQ(sound.body.substr(0, 4) + sound.body.substr(8, 4), "RIFFWAVE");
    for (const char* path :
         {"/range/1000", "/bytes/1073741824", "/sse?count=100000", "/drip?duration=600", "/tone.wav"}) {
      EXPECT_EQ(ask(client, Method::kHead, server.url() + path).status, 200) << path;
    }
  });
}

TEST(Httpbin, files_of_the_root_are_served_in_ranges_and_nothing_else) {
  std::string folder = (std::filesystem::temp_directory_path() / "heddle-httpbin-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  std::filesystem::create_directories(folder + "/root/sub");
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += std::to_string(i) + "\n";
  std::ofstream(folder + "/root/sub/lines.txt") << text;
  std::ofstream(folder + "/secret") << "secret";
  with_httpbin({"--root", folder + "/root"}, [&](Httpbin& server, Client& client) {
    const auto get = [&](const std::string& path, const Fields& fields = {}) {
      return ask(client, Method::kGet, server.url() + path, fields);
    };
    const Answer whole = get("/static/sub/lines.txt");
    EXPECT_TRUE(whole.body == text);
    EXPECT_TRUE(whole.field("Content-Type").starts_with("text/plain"));
    const Answer part = get("/static/sub/lines.txt", {{"Range", "bytes=1000-1999"}});
    EXPECT_EQ(part.status, 206);
    EXPECT_EQ(part.body, text.substr(1000, 1000));
    const Answer parts = get("/static/sub/lines.txt", {{"Range", "bytes=0-1,10-11,-2"}});
    EXPECT_EQ(parts.status, 206);
    EXPECT_TRUE(parts.field("Content-Type").starts_with("multipart/byteranges; boundary="));
    EXPECT_EQ(get("/static/sub/lines.txt", {{"If-None-Match", whole.field("ETag")}}).status, 304);
    EXPECT_EQ(ask(client, Method::kPost, server.url() + "/static/sub/lines.txt").status, 405);
    EXPECT_NE(get("/static/sub").body.find("lines.txt"), std::string::npos);  // redirected to the folder's list
    for (const char* path :
         {"/static/../secret", "/static/%2e%2e/secret", "/static/..%2fsecret", "/static/sub/../../secret",
          "/static//etc/passwd", "/static/%2fetc/passwd", "/static/none"}) {
      const Answer answer = get(path);
      EXPECT_TRUE(answer.status == 404 || answer.status == 400) << path << ": " << answer.status;
      EXPECT_EQ(answer.body.find("secret"), std::string::npos) << path;
    }
  });
  std::filesystem::remove_all(folder);
}

TEST(Httpbin, events_come_one_by_one_and_a_client_may_leave) {
  // With a grace longer than the test may take: stop() returns as soon as no request is left.
  with_httpbin({"--grace", "1000"}, [](Httpbin& server, Client& client) {
    {
      Result<http::ClientResponse> response = client.get(server.url() + "/sse?count=100000&interval=1");
      ASSERT_TRUE(response);
      EXPECT_EQ(response->header("Content-Type"), "text/event-stream");
      std::string got;
      std::byte buf[100];
      while (got.find("id: 5\n") == std::string::npos) {
        const Result<std::size_t> n = response->read(buf);
        ASSERT_TRUE(n && *n != 0);
        got.append(reinterpret_cast<const char*>(buf), *n);
      }
      EXPECT_TRUE(got.starts_with("id: 1\ndata: {\"count\":1}\n\n")) << got;
    }
    for (const char* path : {"/delay/600000", "/drip?delay=600", "/sse?interval=60000"}) {
      auto [ctx, cancel] = with_cancel({});
      WaitGroup gone;
      gone.go([&, ctx = ctx] {
        auto response = client.get(ctx, server.url() + path);
        if (response) static_cast<void>(response->read_all(1 << 20));
      });
      // So that it is under way, which no answer tells: the next one's connection is another.
      EXPECT_EQ(ask(client, Method::kGet, server.url() + "/delay/20").status, 200);
      cancel();
      gone.wait();
    }
  });
}

// It is told what there is to tell: nothing was sent yet that a cut would be the honest end of.
TEST(Httpbin, a_client_that_has_ended_its_half_is_answered) {
  const std::map<std::string, std::string> cases = {{"/delay/600000", "503 "},
                                                    {"/drip?delay=600", "503 "},
                                                    {"/drip?duration=0&numbytes=3", "200 "},
                                                    {"/sse?count=1&interval=60000", "200 "}};
  with_httpbin({}, [&](Httpbin& server, Client&) {
    for (const auto& [path, status] : cases) {
      Result<net::Conn> conn = net::dial(server.address());
      ASSERT_TRUE(conn);
      conn->set_deadline(now() + 60s);
      const std::string both =
          "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" + "GET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n";
      ASSERT_TRUE(conn->write(std::as_bytes(std::span(both))));
      ASSERT_TRUE(conn->close_write());
      std::string got;
      std::byte buf[1000];
      for (;;) {
        const Result<std::size_t> n = conn->read(buf);
        ASSERT_TRUE(n) << path << ": " << n.error().message();
        if (*n == 0) break;
        got.append(reinterpret_cast<const char*>(buf), *n);
      }
      EXPECT_TRUE(got.starts_with("HTTP/1.1 " + status)) << path << ": " << got;
      EXPECT_TRUE(got.ends_with("Hello, World!")) << path << ": " << got;
    }
  });
}

TEST(Httpbin, a_web_socket_sends_back_what_it_is_sent) {
  with_httpbin({}, [](Httpbin& server, Client& client) {
    for (const bool compressed : {false, true}) {
      http::ws::Options options;
      options.compression.enabled = compressed;
      auto socket = http::ws::dial(client, server.url() + "/ws", options);
      ASSERT_TRUE(socket) << socket.error().message();
      EXPECT_EQ(socket->compressed(), compressed);
      for (const std::string& text : {std::string("over"), std::string(), std::string(300'000, 'u')}) {
        ASSERT_TRUE(socket->write_text(text));
        const Result<http::ws::Message> back = socket->read();
        ASSERT_TRUE(back) << back.error().message();
        EXPECT_EQ(back->kind, http::ws::Kind::kText);
        EXPECT_EQ(back->data, text);
      }
      EXPECT_TRUE(socket->close());
      EXPECT_EQ(socket->peer_close().code, http::ws::kNormalClosure);
    }
  });
}

TEST(Httpbin, a_size_that_is_none_is_refused) {
  run([] {  // -1 was no limit at all
    for (const char* size : {"-1", "99999999999999999999", "", "1X"}) {
      net::test::Program program(HEDDLE_HTTPBIN, {"--listen", "127.0.0.1:0", "--max-body", size});
      const bool serves = program.ready_line().starts_with("listening");
      EXPECT_FALSE(serves) << size;
      if (serves) continue;
      EXPECT_EQ(program.wait(), 2) << size;
    }
  });
}

TEST(Httpbin, the_flags_set_limits) {
  with_httpbin({"--max-body", "1K", "--max-header-bytes", "1000"}, [](Httpbin& server, Client& client) {
    const auto post = [&](std::size_t size) {
      return ask(client, Method::kPost, server.url() + "/echo", {}, RequestBody::bytes(std::string(size, 'x'))).status;
    };
    EXPECT_EQ(post(1024), 200);
    EXPECT_EQ(post(1025), 413);
    EXPECT_EQ(ask(client, Method::kGet, server.url() + "/get", {{"X-A", std::string(500, 'a')}}).status, 200);
    EXPECT_EQ(ask(client, Method::kGet, server.url() + "/get", {{"X-A", std::string(1000, 'a')}}).status, 431);
  });
  with_httpbin({"--header-timeout", "0.05"}, [](Httpbin& server, Client&) {
    Result<net::Conn> conn = net::dial(server.address());
    ASSERT_TRUE(conn);
    conn->set_deadline(now() + 60s);
    const TimePoint begin = now();
    ASSERT_TRUE(conn->write(std::as_bytes(std::span("GET / HT", 8))));
    std::array<std::byte, 12> buf;
    const Result<std::size_t> n = conn->read_full(buf);
    ASSERT_TRUE(n) << n.error().message();
    // Nothing, if we were slow: who has sent nothing is told nothing.
    if (*n != 0) {
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(buf.data()), *n), "HTTP/1.1 408");
    }
    EXPECT_LT(now() - begin, 9s);  // less than without the flag
  });
  with_httpbin({"--idle-timeout", "0.05"}, [](Httpbin& server, Client&) {
    Result<net::Conn> conn = net::dial(server.address());
    ASSERT_TRUE(conn);
    conn->set_deadline(now() + 60s);
    constexpr std::string_view kRequest = "GET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n";
    ASSERT_TRUE(conn->write(std::as_bytes(std::span(kRequest))));
    std::string got;
    std::byte buf[1000];
    for (;;) {
      const Result<std::size_t> n = conn->read(buf);
      ASSERT_TRUE(n) << n.error().message();
      if (*n == 0) break;  // it closes by itself
      got.append(reinterpret_cast<const char*>(buf), *n);
    }
    EXPECT_TRUE(got.ends_with("Hello, World!")) << got;
  });
}

}  // namespace
}  // namespace heddle::test
