// Our programs as their users start and stop them: what --help says, what is wrong about flags and places, and which status
// they end with.
#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <vector>

#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/client.h>
#include <heddle/net/process.h>
#include <heddle/net/tcp.h>

#include "../net/unix_test_util.h"
#include "httpbin_util.h"

namespace heddle::test {
namespace {

using http::Client;
using net::test::Folder;
using net::test::part;
using net::test::Program;

// Runs a program to its end.
net::Output ran(const std::string& program, std::vector<std::string> args) {
  const ContextAndCancel limit = with_timeout({}, std::chrono::seconds(60));  // one that starts in spite of it is ended
  const auto output = net::output({.program = program, .args = std::move(args), .ctx = limit.ctx});
  if (!output) {
    ADD_FAILURE() << output.error().message();
    return {};
  }
  return *output;
}

TEST(Flags, help_is_no_error_and_names_each_flag) {
  run([] {
    for (const char* program : {HEDDLE_HELLO, HEDDLE_HTTPBIN, HEDDLE_ECHO}) {
      const net::Output help = ran(program, {"--help"});
      EXPECT_TRUE(help.status.ok()) << program;
      EXPECT_EQ(help.err, "") << program;
      for (const char* flag :
           {"--listen", "unix:PATH", "--debug", "--procs", "--poller", "--log-level", "--grace", "--help"})
        EXPECT_NE(help.out.find(flag), std::string::npos) << program << " " << flag;
    }
  });
}

TEST(Flags, what_is_wrong_is_said_with_what_to_do) {
  struct Case {
    std::vector<std::string> args;
    int status;
    const char* says;
  };
  const std::string long_path = "unix:/" + std::string(120, 'a');
  const Case cases[] = {
      {{"--nosuch"}, 2, "heddle-httpbin: The following argument was not expected: --nosuch\nRun heddle-httpbin --help"},
      {{"file"}, 2, "not expected: file"},
      {{"--listen"}, 2, "--listen: "},
      {{"--procs", "x"}, 2, "--procs: "},
      {{"--procs", "257"}, 2, "256"},
      {{"--poller", "kqueue"}, 2, "{auto,io_uring,epoll}"},
      {{"--log-level", "loud"}, 2, "--log-level: "},
      {{"--grace", "-1"}, 2, "--grace: "},
      {{"--grace", "1e300"}, 2, "--grace: "},
      {{"--grace", "nan"}, 2, "--grace: "},
      {{"--max-body", "-1"}, 2, "--max-body: -1 is no size in bytes"},
      {{"--max-body", "99999999999999999999"}, 2, "is no size in bytes"},
      {{"--max-body", "20E"}, 2, "--max-body: "},
      {{"--max-header-bytes", "1"}, 2, "256"},
      {{"--idle-timeout", "-2"}, 2, "--idle-timeout: "},
      {{"--header-timeout", "nan"}, 2, "--header-timeout: nan is no number of seconds"},
      {{"--header-timeout", "1s"}, 2, "--header-timeout: "},
      {{"--access-log-format", "xml"}, 2, "{json,text}"},
      {{"--listen", "example.org:80"}, 2, "--listen example.org:80: parse address: a name"},
      {{"--listen", "8080"}, 2, "wanted is an IP address with a port, such as 127.0.0.1:8080"},
      {{"--listen", "127.0.0.1:65536"}, 2, "the port is not in 0-65535"},
      {{"--listen", "::1:80"}, 2, "needs [] around it"},
      {{"--listen", "unix:"}, 2, "no path behind \"unix:\""},
      {{"--listen", long_path}, 2, "longer than 107 bytes"},
      {{"--debug", "here"}, 2, "--debug here: parse address: "},
      {{"--listen", "192.0.2.1:0"}, 1, "--listen 192.0.2.1:0: listen: Cannot assign requested address"},
      {{"--listen", "unix:/proc/no/such"}, 1, "--listen unix:/proc/no/such: listen: No such file or directory"},
      {{"--root", "/proc/no/such"}, 1, "--root /proc/no/such: "},
      {{"--access-log", "/proc/no/such"}, 1, "--access-log /proc/no/such: access log: No such file"},
  };
  run([&] {
    WaitGroup all;
    for (const Case& c : cases) {
      all.go([&c] {
        std::vector<std::string> args = c.args;
        if (args[0] != "--listen") args.insert(args.end(), {"--listen", "127.0.0.1:0"});
        const net::Output got = ran(HEDDLE_HTTPBIN, args);
        EXPECT_EQ(got.status.code, c.status) << c.args.front() << ' ' << c.args.back() << ": " << got.err;
        EXPECT_NE(got.err.find(c.says), std::string::npos) << got.err;
        EXPECT_EQ(got.out, "");
      });
    }
    all.wait();
  });
}

TEST(Flags, a_port_in_use_is_said) {
  run([] {
    const Result<net::Listener> taken = net::listen(*net::Address::parse("127.0.0.1:0"));
    ASSERT_TRUE(taken);
    const std::string where = taken->local_address()->to_string();
    WaitGroup all;  // each tries for a second
    for (const std::vector<std::string>& args :
         {std::vector<std::string>{"--listen", where}, {"--listen", "127.0.0.1:0", "--debug", where}}) {
      all.go([&, args] {
        const net::Output got = ran(HEDDLE_HTTPBIN, args);
        EXPECT_EQ(got.status.code, 1);
        EXPECT_NE(
            got.err.find(where + ": listen: Address already in use (EADDRINUSE 98); stop who is there, or choose"),
            std::string::npos)
            << got.err;
      });
    }
    all.wait();
  });
}

// A server, a request that takes minutes, and what is said until the end. `begun` is called when the request runs.
template <class Begun>
int stopped_while_busy(const std::string& grace, Begun begun) {
  Httpbin server({"--grace", grace});
  Client client(plain_options());
  int status = 0;
  {
    // Its first byte has come, so it runs; its rest is cut.
    Result<http::ClientResponse> response = client.get(server.url() + "/sse?count=2&interval=60000");
    EXPECT_TRUE(response) << response.error().message();
    begun(server);
    status = server.wait();
  }
  client.close_idle();
  return status;
}

TEST(Flags, either_signal_ends_it_and_a_grace_that_is_over_cuts) {
  run([] {
    for (const int signal : {SIGTERM, SIGINT}) {
      EXPECT_EQ(stopped_while_busy("0.05", [&](Httpbin& server) { ::kill(server.pid(), signal); }), 0);
      EXPECT_EQ(stopped_while_busy("0", [&](Httpbin& server) { ::kill(server.pid(), signal); }), 0);
    }
  });
}

TEST(Flags, a_second_signal_ends_it_at_once) {
  run([] {
    for (const int second : {SIGTERM, SIGINT}) {
      const int status = stopped_while_busy("1000", [&](Httpbin& server) {
        ::kill(server.pid(), SIGTERM);
        server.wait_for("stopping: what runs has 1000 s to end");
        ::kill(server.pid(), second);
      });
      EXPECT_EQ(status, 1);
    }
  });
}

}  // namespace
}  // namespace heddle::test
