// Our client against the servers of Go, Node and nginx, over TCP and over Unix sockets.
//
// server.go and server.mjs answer the same requests, so that one list of checks is for both. nginx listens on a Unix socket
// alone, where it needs no port; and stands, as a proxy, in front of heddle-httpbin.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/wait_group.h>
#include <heddle/net/unix.h>

#include "../apps/httpbin_util.h"
#include "tool.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;
using http::Client;
using http::ClientRequest;
using http::Method;
using http::RequestBody;

ClientRequest request_to(const std::string& url, Method method = Method::kGet, RequestBody body = {}) {
  ClientRequest request;
  request.method = method;
  request.url = http::Url::parse(url).value();
  request.body = std::move(body);
  return request;
}

// "/a b.sock" as the host of a URL: a slash is %2F.
std::string unix_url(const std::string& path) {
  std::string url = "http+unix://";
  for (const char c : path) c == '/' ? url += "%2F" : url += c;
  return url;
}

// Bytes in pieces of odd sizes, without an announced length.
RequestBody chunked(std::shared_ptr<const std::string> bytes) {
  return RequestBody::callback(
      [bytes, at = std::make_shared<std::size_t>(0)](std::span<std::byte> to) -> Result<std::size_t> {
        const std::size_t n = std::min({to.size(), bytes->size() - *at, *at % 9999 + 1});
        std::copy_n(std::as_bytes(std::span(*bytes)).begin() + static_cast<std::ptrdiff_t>(*at), n, to.begin());
        *at += n;
        return n;
      });
}

// A request each, one after the other, on one connection.
void check_plain(Client& client, const std::string& url) {
  const std::string peer = ask(client, Method::kGet, url + "/peer").body;
  const Answer hello = ask(client, Method::kGet, url + "/hello");
  EXPECT_EQ(hello.body, "hello");
  EXPECT_EQ(hello.field("Content-Length"), "5");
  EXPECT_EQ(ask(client, Method::kHead, url + "/hello").body, "");
  EXPECT_EQ(ask(client, Method::kGet, url + "/none").status, 404);
  const Answer unpacked = ask(client, Method::kGet, url + "/gzip");
  EXPECT_EQ(unpacked.body.size(), 90'000u);
  EXPECT_TRUE(unpacked.body.starts_with("squeezed squeezed "));
  EXPECT_EQ(ask(client, Method::kGet, url + "/redirect?n=5").body, "GET");
  EXPECT_EQ(ask(client, Method::kPost, url + "/redirect?n=1", {}, RequestBody::bytes("x")).body, "GET");
  EXPECT_EQ(ask(client, Method::kPost, url + "/moved", {}, RequestBody::bytes("again")).body, "again");
  EXPECT_EQ(ask(client, Method::kGet, url + "/peer").body, peer);
  EXPECT_EQ(client.stats().open, 1u);
  EXPECT_EQ(ask(client, Method::kGet, url + "/last").body, "last");
  EXPECT_EQ(client.stats().open, 0u);  // as the server said
}

void check_trailers(Client& client, const std::string& url) {
  Result<http::ClientResponse> response = client.get(url + "/chunked?n=100");
  ASSERT_TRUE(response) << response.error().message();
  EXPECT_TRUE(response->trailers().empty());
  const Result<std::string> body = response->read_all(1 << 20);
  ASSERT_TRUE(body) << body.error().message();
  EXPECT_TRUE(body->starts_with("piece 0\npiece 1\n"));
  EXPECT_TRUE(body->ends_with("piece 99\n"));
  EXPECT_EQ(response->trailers().find("X-Count"), "100");
}

void check_bodies(Client& client, const std::string& url) {
  const auto bytes = std::make_shared<const std::string>(noise((3 << 20) + 7));
  const std::string size = std::to_string(bytes->size());
  const Answer announced =
      ask(client, Method::kPost, url + "/echo", {{"Content-Type", "a/b"}}, RequestBody::bytes(*bytes));
  EXPECT_TRUE(announced.body == *bytes);
  EXPECT_EQ(announced.field("Content-Type"), "a/b");
  EXPECT_TRUE(ask(client, Method::kPost, url + "/echo", {}, chunked(bytes)).body == *bytes);
  EXPECT_EQ(ask(client, Method::kPut, url + "/size", {}, RequestBody::bytes(*bytes)).body, size + " <nil> " + size);
  EXPECT_EQ(ask(client, Method::kPut, url + "/size", {}, chunked(bytes)).body, size + " <nil> -1");
  EXPECT_EQ(ask(client, Method::kPost, url + "/size").body, "0 <nil> 0");

  const Answer large = ask(client, Method::kGet, url + "/large?n=33554433");
  EXPECT_EQ(large.body.size(), std::size_t{33'554'433});
  for (std::size_t i = 0; i < large.body.size(); i += 4093) {
    ASSERT_EQ(static_cast<unsigned char>(large.body[i]), i % 65'536 * 7 % 256) << i;
  }
}

void check_informational(Client& client, const std::string& url) {
  std::atomic<int> hints{0}, continues{0};
  auto trace = std::make_shared<http::ClientTrace>();
  trace->informational = [&](int status, http::HeaderList fields) {
    if (status == 103 && fields.find("Link") == "</a.css>; rel=preload") ++hints;
    if (status == 100) ++continues;
  };
  ClientRequest hinted = request_to(url + "/hints");
  hinted.trace = trace;
  EXPECT_EQ(ask(client, hinted).body, "hinted");
  EXPECT_EQ(hints.load(), 1);

  ClientRequest expects = request_to(url + "/echo", Method::kPost, RequestBody::bytes("expected"));
  expects.expect_continue = true;
  expects.trace = trace;
  EXPECT_EQ(ask(client, expects).body, "expected");
  EXPECT_EQ(continues.load(), 1);
}

// An answer that comes before the body was sent, and while it is.
void check_refusals(Client& client, const std::string& url) {
  ClientRequest refused =
      request_to(url + "/refuse", Method::kPost, chunked(std::make_shared<std::string>(noise(8 << 20))));
  EXPECT_EQ(ask(client, refused).status, 413);
  EXPECT_EQ(ask(client, Method::kGet, url + "/hello").body, "hello");
}

void check_ends(Client& client, const std::string& url) {
  Result<http::ClientResponse> cut = client.get(url + "/cut");
  if (cut) {  // else the end came with the head
    const Result<std::string> body = cut->read_all(1000);
    ASSERT_FALSE(body);
    EXPECT_TRUE(body.error().code == Code::kEof || body.error().code == Code::kReset) << body.error().message();
  }
  auto [ctx, cancel] = with_timeout({}, 20ms);
  ClientRequest slow = request_to(url + "/slow");
  slow.ctx = ctx;
  const Result<http::ClientResponse> late = client.send(slow);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kTimeout);
  EXPECT_EQ(ask(client, Method::kGet, url + "/hello").body, "hello");
}

void check_many(Client& client, const std::string& url) {
  WaitGroup all;
  for (int i = 0; i < 100; ++i) {
    all.go([&, i] {
      for (int k = 0; k < 5; ++k) {
        const std::string text = std::to_string(i) + "." + std::to_string(k);
        EXPECT_EQ(ask(client, Method::kPost, url + "/echo", {}, RequestBody::bytes(text)).body, text);
      }
    });
  }
  all.wait();
}

void check_server(const std::string& url, bool hints = true) {
  http::ClientOptions options = plain_options();
  options.continue_timeout = 60s;  // who does not answer Expect is found out
  Client client(options);
  check_plain(client, url);
  check_trailers(client, url);
  check_bodies(client, url);
  if (hints) check_informational(client, url);
  check_refusals(client, url);
  check_ends(client, url);
  check_many(client, url);
  client.close_idle();
}

void check_program(const std::string& program, std::vector<std::string> args, const TempFolder& folder) {
  const std::string socket = folder.path() + "/server.sock";
  args.push_back(socket);
  net::test::Program server(program, std::move(args));
  const std::string line = server.ready_line();
  const std::string url = "http://" + net::test::part(line, "http://");
  ASSERT_GT(url.size(), 8u) << line;
  check_server(url);
  check_server(unix_url(socket));
}

TEST(Servers, go) {
  HEDDLE_NEED_TOOLS("go");
  run([] {
    const TempFolder folder;
    if (const std::string server = build_go("server.go", folder); !server.empty()) check_program(server, {}, folder);
  });
}

TEST(Servers, node) {
  HEDDLE_NEED_TOOLS("node");
  run([] {
    const TempFolder folder;
    check_program(find_tool("node"), {script("server.mjs")}, folder);
  });
}

// ---- nginx ----

constexpr const char* kNginx = R"(
daemon off;
master_process off;
pid $D/nginx.pid;
error_log stderr crit;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path $D/body;
  proxy_temp_path $D/proxy;
  fastcgi_temp_path $D/fastcgi;
  uwsgi_temp_path $D/uwsgi;
  scgi_temp_path $D/scgi;
  upstream heddle { server $H; keepalive 4; }
  server {
    listen unix:$D/nginx.sock;
    client_max_body_size 32m;
    location = /hello { default_type text/plain; return 200 "hello"; }
    location = /there { absolute_redirect off; return 301 /hello; }
    location = /few { keepalive_requests 2; return 200 "few"; }
    location = /small { client_max_body_size 1k; return 200 "small"; }
    location /files/ {
      alias $D/files/;
      gzip on;
      gzip_types text/plain application/octet-stream;
      gzip_min_length 1;
    }
    location = /trailers { add_trailer X-After late always; alias $D/files/text; gzip on; gzip_types *; gzip_min_length 1; }
    location / {
      proxy_pass http://heddle;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_buffering off;
    }
  }
}
)";

// nginx with a folder of its own, in front of `upstream`. It tells nobody when it is ready: so it is asked until it is.
class Nginx {
 public:
  explicit Nginx(const std::string& upstream)
      : program_(find_tool("nginx"), {"-e", "stderr", "-p", folder_.path(), "-c", config(upstream)}) {
    const auto address = net::UnixAddress::parse(folder_.path() + "/nginx.sock").value();
    for (const TimePoint limit = now() + kToolPatience; now() < limit; sleep(1ms)) {
      if (net::dial_unix(address)) return;
    }
    ADD_FAILURE() << "nginx does not listen";
  }

  [[nodiscard]] std::string url() const { return unix_url(folder_.path() + "/nginx.sock"); }
  [[nodiscard]] const TempFolder& folder() const { return folder_; }

 private:
  std::string config(const std::string& upstream) const {
    std::string text = kNginx;
    for (const auto& [mark, value] :
         {std::pair(std::string("$D"), folder_.path()), std::pair(std::string("$H"), upstream)}) {
      for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos;) text.replace(at, 2, value);
    }
    return folder_.write("nginx.conf", text);
  }

  TempFolder folder_;
  net::test::Program program_;
};

TEST(Servers, nginx) {
  HEDDLE_NEED_TOOLS("nginx");
  run([] {
    Nginx nginx("127.0.0.1:1");
    const std::string text = noise(300'000);
    std::filesystem::create_directory(nginx.folder().path() + "/files");
    nginx.folder().write("files/text", text);
    const std::string url = nginx.url();
    Client client(plain_options());

    EXPECT_EQ(ask(client, Method::kGet, url + "/hello").body, "hello");
    EXPECT_EQ(ask(client, Method::kGet, url + "/files/text").body, text);  // gzip, undone
    const Answer part =
        ask(client, Method::kGet, url + "/files/text", {{"Range", "bytes=1000-1999"}, {"Accept-Encoding", "identity"}});
    EXPECT_EQ(part.status, 206);
    EXPECT_EQ(part.body, text.substr(1000, 1000));
    EXPECT_EQ(ask(client, Method::kHead, url + "/hello").status, 200);
    EXPECT_EQ(ask(client, Method::kGet, url + "/there").body, "hello");  // redirected
    EXPECT_EQ(client.stats().open, 1u);

    Result<http::ClientResponse> response = client.get(url + "/trailers");
    ASSERT_TRUE(response);
    EXPECT_EQ(response->read_all(1 << 20), text);
    EXPECT_EQ(response->trailers().find("X-After"), "late");

    // nginx ends the connection after two requests, and says so; and wherever it likes, after a refusal.
    for (int i = 0; i < 7; ++i) EXPECT_EQ(ask(client, Method::kGet, url + "/few").body, "few");
    EXPECT_EQ(ask(client, Method::kPost, url + "/small", {}, RequestBody::bytes(noise(2 << 20))).status, 413);
    ClientRequest expects = request_to(url + "/small", Method::kPost, RequestBody::bytes(noise(2 << 20)));
    expects.expect_continue = true;
    EXPECT_EQ(ask(client, expects).status, 413);
    EXPECT_EQ(ask(client, Method::kGet, url + "/hello").body, "hello");
    client.close_idle();
  });
}

// Our client, nginx, our server: each of the two ends is the other's stranger.
TEST(Servers, nginx_in_front_of_heddle) {
  HEDDLE_NEED_TOOLS("nginx");
  run([] {
    Httpbin server;
    Nginx nginx(server.url().substr(7));
    const std::string url = nginx.url();
    Client client(plain_options());
    // Once an answer has begun nginx sends no more of the request: so it is not asked to echo more than fits on the way.
    const auto small = std::make_shared<const std::string>(noise(10'000));
    EXPECT_TRUE(ask(client, Method::kPost, url + "/echo", {}, RequestBody::bytes(*small)).body == *small);
    EXPECT_TRUE(ask(client, Method::kPost, url + "/echo", {}, chunked(small)).body == *small);
    const auto form = std::make_shared<const std::string>("--b\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n" +
                                                          noise(5 << 20) + "\r\n--b--\r\n");
    for (const RequestBody& body : {RequestBody::bytes(*form), chunked(form)}) {
      const Answer got =
          ask(client, Method::kPost, url + "/upload", {{"Content-Type", "multipart/form-data; boundary=b"}}, body);
      EXPECT_EQ(got.json()["parts"][0].value("size", 0), 5 << 20) << got.body;
    }
    EXPECT_EQ(ask(client, Method::kGet, url + "/bytes/8000001").body.size(), 8'000'001u);
    EXPECT_EQ(ask(client, Method::kGet, url + "/chunked/1000").status, 200);
    EXPECT_EQ(ask(client, Method::kGet, url + "/status/204").status, 204);
    EXPECT_EQ(ask(client, Method::kHead, url + "/range/500").field("Content-Length"), "500");
    EXPECT_EQ(ask(client, Method::kGet, url + "/panic").status, 500);
    EXPECT_EQ(ask(client, Method::kGet, url + "/drip?duration=0.05&numbytes=50").body.size(), 50u);
    WaitGroup all;
    for (int i = 0; i < 20; ++i) {
      all.go([&, i] {
        for (int k = 0; k < 10; ++k) {
          EXPECT_EQ(ask(client, Method::kGet, url + "/range/" + std::to_string(i)).body.size(),
                    static_cast<std::size_t>(i));
        }
      });
    }
    all.wait();
    client.close_idle();
    EXPECT_EQ(server.stop(), 0);
  });
}

}  // namespace
}  // namespace heddle::test
