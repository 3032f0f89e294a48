// The server on Unix sockets: served beside TCP, drained, named in the log, and not taken for one client of many.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include <heddle/http/access_log.h>
#include <heddle/http/rate_limit.h>
#include <heddle/http/static_files.h>
#include <heddle/net/unix.h>

#include "../net/unix_test_util.h"
#include "client_test_util.h"

namespace heddle::http::test {
namespace {

using net::test::Folder;
using net::test::must;

std::string url_of(const net::UnixAddress& address, std::string_view path) {
  std::string host;
  for (const char c : address.to_string()) {
    constexpr char kHex[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    host += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  return "http+unix://" + host + std::string(path);
}

std::string text_at(Client& client, const std::string& url) {
  Result<ClientResponse> response = client.get(url);
  if (!response) return response.error().message();
  return response->read_all(1 << 20).value_or("no body");
}

const std::string kSelf = "unix:uid=" + std::to_string(::getuid()) + ",pid=" + std::to_string(::getpid());

void say_peer(Request& r, ResponseWriter& w) {
  const auto who = r.peer_credentials();
  w.write(r.peer_address() +
          (who ? " is " + std::to_string(who->gid) : " " + std::string(to_string(who.error().code))));
}

TEST(UnixServer, is_served_beside_tcp) {
  with_network([] {
    const Folder folder;
    Server server(say_peer);
    const auto tcp = must(server.listen(net::test::any_port()));
    const auto path = must(server.listen(folder.address("a"), {.mode = 0600}));
    EXPECT_EQ(path, folder.address("a"));
    const auto other = must(server.listen(net::Endpoint(folder.address("b"))));
    EXPECT_EQ(other.to_string(), "unix:" + folder.path("b"));
    const auto picked = must(server.listen(net::UnixAddress()));
    EXPECT_TRUE(picked.is_abstract());
    const auto second_tcp = must(server.listen(net::Endpoint(net::test::any_port())));
    Client client(plain());
    const std::string me = kSelf + " is " + std::to_string(::getgid());
    for (int i = 0; i < 3; ++i) {
      for (const net::UnixAddress& each : {path, *other.local(), picked})
        EXPECT_EQ(text_at(client, url_of(each, "/")), me);
      for (const net::Address& each : {tcp, *second_tcp.ip()}) {
        const std::string said = text_at(client, "http://" + each.to_string() + "/");
        EXPECT_TRUE(said.starts_with("127.0.0.1:") && said.ends_with(" not supported")) << said;
      }
    }
    EXPECT_EQ(server.stats().accepted, 5u);  // connections are kept
    client.close_idle();
    EXPECT_TRUE(server.shutdown(20s));
    EXPECT_FALSE(net::test::exists(folder.path("a")));
    EXPECT_FALSE(net::test::exists(folder.path("b")));
    EXPECT_EQ(server.listen(folder.address("a")).error().code, Code::kClosed);
  });
}

TEST(UnixServer, answers_what_runs_and_leaves_its_path_to_a_successor) {
  with_network([] {
    const Folder folder;
    const net::UnixAddress at = folder.address("s");
    const auto begun = make_chan<Done>(1);
    const auto go_on = make_chan<Done>();
    Server server([&](Request&, ResponseWriter& w) {
      begun.send({});
      static_cast<void>(go_on.recv());
      w.write("old");
    });
    must(server.listen(at));
    Client client(plain());
    Client fresh(plain());
    WaitGroup wg;
    wg.go([&] {
      Result<ClientResponse> response = client.get(url_of(at, "/"));
      ASSERT_TRUE(response) << response.error().message();
      EXPECT_EQ(response->headers().find("Connection"), "close");
      EXPECT_EQ(response->read_all(100), "old");
    });
    static_cast<void>(begun.recv());
    wg.go([&] { EXPECT_TRUE(server.shutdown(20s)); });
    while (net::test::exists(folder.path("s"))) sleep(1ms);
    Server successor([](Request&, ResponseWriter& w) { w.write("new"); });
    must(successor.listen(at));
    EXPECT_EQ(text_at(fresh, url_of(at, "/")), "new");
    go_on.close();
    wg.wait();
    EXPECT_TRUE(net::test::exists(folder.path("s"))) << "it is the successor's";
    EXPECT_EQ(text_at(client, url_of(at, "/")), "new");
    client.close_idle();
    fresh.close_idle();
    EXPECT_TRUE(successor.shutdown(20s));
  });
}

TEST(UnixServer, takes_the_place_of_a_killed_process) {
  with_network([] {
    const Folder folder;
    const net::UnixAddress at = folder.address("s");
    {
      const net::OwnedFd killed(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      ASSERT_EQ(::bind(killed.get(), at.sa(), at.size()), 0);
      ASSERT_EQ(::listen(killed.get(), 1), 0);
    }
    Server server(say_peer);
    must(server.listen(at));
    Client client(plain());
    EXPECT_TRUE(text_at(client, url_of(at, "/")).starts_with("unix:"));
    client.close_idle();
    EXPECT_TRUE(server.shutdown(20s));
  });
}

TEST(UnixServer, counts_for_no_limit_per_address) {
  with_network([] {
    RateLimitOptions once;
    once.requests = 1;
    once.per = 1h;
    once.burst = 1;
    ServerOptions options;
    options.max_connections_per_ip = 1;
    options.limit_loopback = true;
    Server server(rate_limit(once)(say_peer), options);
    const auto path = must(server.listen(net::UnixAddress()));
    std::vector<net::UnixConn> conns;
    for (int i = 0; i < 5; ++i) {
      conns.push_back(must(net::dial_unix(path)));
      conns.back().set_deadline(net::test::patience());
      ASSERT_TRUE(conns.back().write(bytes("GET / HTTP/1.1\r\nHost: a\r\n\r\n")));
      std::byte line[15];
      ASSERT_TRUE(conns.back().read_full(line));
      EXPECT_EQ(net::test::text_of(line), "HTTP/1.1 200 OK");
    }
    EXPECT_EQ(server.stats().refused_per_ip, 0u);
    conns.clear();
    EXPECT_TRUE(server.shutdown(20s));
  });
}

TEST(UnixServer, the_access_log_says_who_had_connected) {
  with_network([] {
    const auto lines = make_chan<std::string>(8);
    ServerOptions options;
    options.on_request_done = [&](const RequestRecord& r) { lines.send(access_line(r, AccessLogFormat::kText)); };
    Server server(say_peer, options);
    const auto path = must(server.listen(net::UnixAddress()));
    {
      net::UnixConn conn = must(net::dial_unix(path));
      ASSERT_TRUE(conn.write(bytes("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")));
      EXPECT_TRUE(lines.recv()->starts_with(kSelf + " [")) << "an answered one";
      ASSERT_TRUE(conn.write(bytes("GET\r\n\r\n")));
      EXPECT_TRUE(lines.recv()->starts_with(kSelf + " [")) << "a refused one";
    }
    EXPECT_TRUE(server.shutdown(20s));
  });
}

TEST(UnixServer, carries_files_and_large_bodies_both_ways) {
  with_network([] {
    const Folder folder;
    std::string body(3 << 20, '\0');
    for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * 31 + i / 4096);
    {
      const net::OwnedFd file(::open(folder.path("file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
      ASSERT_EQ(::write(file.get(), body.data(), body.size()), static_cast<ssize_t>(body.size()));
    }
    Mux mux;
    const std::string root = folder.path("");
    mux.handle("GET /files/{file...}", must(static_files(root)));
    mux.handle("POST /echo", [](Request& r, ResponseWriter& w) {
      std::vector<std::byte> buffer(16'384);
      while (const auto n = r.read(buffer)) {
        if (*n == 0 || !w.write(std::span(buffer).first(*n))) return;
      }
    });
    Server server(mux);
    const auto path = must(server.listen(folder.address("s")));
    Client client(plain());
    Result<ClientResponse> sent = client.get(url_of(path, "/files/file"));
    ASSERT_TRUE(sent) << sent.error().message();
    EXPECT_TRUE(sent->read_all(body.size()) == body);
    Result<ClientResponse> echoed =
        client.post({}, url_of(path, "/echo"), "application/octet-stream", RequestBody::bytes(body));
    ASSERT_TRUE(echoed) << echoed.error().message();
    EXPECT_TRUE(echoed->read_all(body.size()) == body);
    client.close_idle();
    EXPECT_TRUE(server.shutdown(20s));
  });
}

}  // namespace
}  // namespace heddle::http::test
