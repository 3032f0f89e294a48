// heddle-echo as a process: what it says when it is ready, that it echoes over all it listens on, how it stops.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <heddle/core/run.h>
#include <heddle/net/file.h>
#include <heddle/net/tcp.h>
#include <heddle/net/udp.h>
#include <heddle/net/unix.h>

#include "program.h"

namespace heddle::net {
namespace {

using namespace std::chrono_literals;
using test::part;
using test::Program;

// heddle-echo with `flags`, on a port of its own.
struct Echo : Program {
  explicit Echo(std::vector<std::string> flags) : Program(HEDDLE_ECHO, with(std::move(flags))) {}
  static std::vector<std::string> with(std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"--listen", "127.0.0.1:0", "--procs", "2"});
    return flags;
  }
};

void check_echo(Transport& conn) {
  conn.set_deadline(now() + 60s);
  const std::vector<std::byte> data(10'000, std::byte{'x'});
  ASSERT_TRUE(conn.write(data));
  std::vector<std::byte> back(data.size());
  ASSERT_EQ(conn.read_full(back), data.size());
  EXPECT_EQ(back, data);
}

TEST(Echo, it_answers_over_tcp_udp_and_unix_and_leaves_nothing) {
  run([] {
    std::string folder = (std::filesystem::temp_directory_path() / "heddle-echo-XXXXXX").string();
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    const std::string path = folder + "/echo.sock";
    const std::string abstract = "@heddle-echo-" + std::to_string(::getpid());
    Echo echo({"--udp", "--unix", path, "--unix", abstract});
    const std::string line = echo.ready_line();
    const Result<Address> tcp = Address::parse(part(line, "tcp://"));
    ASSERT_TRUE(tcp) << line;
    const Result<Address> udp = Address::parse(part(line, "udp://"));
    ASSERT_TRUE(udp) << line;
    EXPECT_EQ(part(line, "unix:"), path) << line;
    EXPECT_NE(line.find("unix:" + abstract), std::string::npos) << line;

    Result<Conn> conn = dial(*tcp);
    ASSERT_TRUE(conn);
    check_echo(*conn);
    for (const std::string& name : {path, abstract}) {
      Result<UnixConn> unix_conn = dial_unix(*UnixAddress::parse(name));
      ASSERT_TRUE(unix_conn) << unix_conn.error().message();
      check_echo(*unix_conn);
    }
    Result<UdpSocket> socket = dial_udp(*udp);
    ASSERT_TRUE(socket);
    std::byte buf[100];
    for (std::size_t size = 0; size < 100; size += 33) {
      ASSERT_TRUE(socket->send({buf, size}));
      socket->set_read_deadline(now() + 60s);
      const Result<Datagram> got = socket->receive_from(buf);
      ASSERT_TRUE(got) << got.error().message();
      EXPECT_EQ(got->size, size);
    }
    EXPECT_EQ(echo.stop(), 0);  // with a connection open, which it ends
    EXPECT_EQ(conn->read(buf), std::size_t{0});
    EXPECT_FALSE(stat_link(path));
    ASSERT_TRUE(remove_directory(folder));
  });
}

TEST(Echo, without_the_flags_it_serves_tcp_alone) {
  run([] {
    Echo echo({});
    const std::string line = echo.ready_line();
    EXPECT_NE(part(line, "tcp://"), "") << line;
    EXPECT_EQ(line.find("udp://"), std::string::npos);
    EXPECT_EQ(line.find("unix:"), std::string::npos);
    EXPECT_EQ(echo.stop(), 0);
  });
}

TEST(Echo, a_path_that_is_taken_is_said_and_kept) {
  run([] {
    std::string folder = (std::filesystem::temp_directory_path() / "heddle-echo-XXXXXX").string();
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    const std::string path = folder + "/taken";
    ASSERT_TRUE(write_file(path, {}));
    Echo echo({"--unix", path});
    EXPECT_NE(echo.ready_line().find("a file that is no socket has this path"), std::string::npos);
    EXPECT_EQ(echo.wait(), 1);
    EXPECT_TRUE(stat_file(path));
    ASSERT_TRUE(unlink_file(path));
    ASSERT_TRUE(remove_directory(folder));
  });
}

}  // namespace
}  // namespace heddle::net
