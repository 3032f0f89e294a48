// Where our HTTP programs listen: addresses of both kinds at once, Unix sockets that a killed one left, paths in use.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include <heddle/core/run.h>
#include <heddle/http/client.h>
#include <heddle/net/process.h>

#include "../net/unix_test_util.h"
#include "httpbin_util.h"

namespace heddle::test {
namespace {

using http::Client;
using net::test::exists;
using net::test::Folder;
using net::test::part;
using net::test::Program;

const std::vector<std::string> kHttpPrograms = {HEDDLE_HELLO, HEDDLE_HTTPBIN};

std::string http_url(std::string path, std::string_view target) {
  for (std::size_t at = 0; (at = path.find('/', at)) != std::string::npos;) path.replace(at, 1, "%2F");
  return "http+unix://" + path + std::string(target);
}

TEST(Listening, on_tcp_and_unix_sockets_at_once) {
  run([] {
    for (const std::string& program : kHttpPrograms) {
      const Folder folder;
      Program server(program, {"--listen", "127.0.0.1:0", "--listen", "unix:" + folder.path("a"), "--listen",
                               "unix:" + folder.path("b"), "--debug", "unix:" + folder.path("debug"), "--procs", "2"});
      const std::string line = server.ready_line();
      EXPECT_EQ(part(line, "unix:"), folder.path("a")) << line;
      Client client(plain_options());
      for (const std::string& url : {http_url(folder.path("a"), "/plaintext"), http_url(folder.path("b"), "/plaintext"),
                                     "http://" + part(line, "http://") + "/plaintext"})
        EXPECT_EQ(ask(client, http::Method::kGet, url).body, "Hello, World!") << url;
      EXPECT_EQ(ask(client, http::Method::kGet, http_url(folder.path("debug"), "/debug/")).status, 200);
      client.close_idle();
      EXPECT_EQ(server.stop(), 0);
      for (const char* name : {"a", "b", "debug"}) EXPECT_FALSE(exists(folder.path(name))) << name;
    }
  });
}

TEST(Listening, where_a_killed_one_left_its_socket_the_next_one_starts) {
  run([] {
    const Folder folder;
    const std::vector<std::string> flags{"--listen", "unix:" + folder.path("s"), "--debug", "off", "--procs", "2"};
    {
      Program killed(HEDDLE_HELLO, flags);
      killed.ready_line();
      ::kill(killed.pid(), SIGKILL);
      EXPECT_EQ(killed.wait(), -1);
    }
    ASSERT_TRUE(exists(folder.path("s")));
    Program server(HEDDLE_HELLO, flags);
    server.ready_line();
    // While it lives nobody takes its place.
    const auto second = net::output({.program = HEDDLE_HELLO, .args = flags});
    ASSERT_TRUE(second);
    EXPECT_EQ(second->status.code, 1);
    EXPECT_NE(second->err.find("--listen unix:" + folder.path("s") + ": bind: a process has this socket"),
              std::string::npos)
        << second->err;
    Client client(plain_options());
    EXPECT_EQ(ask(client, http::Method::kGet, http_url(folder.path("s"), "/plaintext")).body, "Hello, World!");
    client.close_idle();
    EXPECT_EQ(server.stop(), 0);
  });
}

}  // namespace
}  // namespace heddle::test
