// heddle-echo as a process: what it says when it is ready, that it echoes over all it listens on, how it stops.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <heddle/core/blocking.h>
#include <heddle/core/run.h>
#include <heddle/net/file.h>
#include <heddle/net/pipe.h>
#include <heddle/net/tcp.h>
#include <heddle/net/udp.h>
#include <heddle/net/unix.h>

extern char** environ;

namespace heddle::net {
namespace {

using namespace std::chrono_literals;

// The program with `flags`, and its standard error.
class Echo {
 public:
  explicit Echo(std::vector<std::string> flags) {
    flags.insert(flags.begin(), {HEDDLE_ECHO, "--listen", "127.0.0.1:0", "--procs", "2"});
    std::vector<char*> argv;
    for (std::string& flag : flags) argv.push_back(flag.data());
    argv.push_back(nullptr);
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) < 0) std::abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
    if (::posix_spawn(&pid_, HEDDLE_ECHO, &actions, nullptr, argv.data(), environ) != 0) std::abort();
    posix_spawn_file_actions_destroy(&actions);
    ::close(fds[1]);
    Result<PipeReader> reader = PipeReader::adopt(fds[0]);
    if (!reader) std::abort();
    log_ = std::move(*reader);
    log_.set_read_deadline(now() + 60s);
  }
  ~Echo() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }

  // The line that says that it is ready, or all that it said if it ended before.
  std::string ready_line() {
    std::byte one;
    for (;;) {
      const Result<std::size_t> n = log_.read({&one, 1});
      if (!n || *n == 0) return said_;
      said_.push_back(static_cast<char>(one));
      if (one != std::byte{'\n'}) continue;
      if (const std::size_t at = said_.find("listening on "); at != std::string::npos) return said_.substr(at);
    }
  }

  int stop() {
    ::kill(pid_, SIGTERM);
    return wait();
  }

  // Its exit status, or -1 if it died.
  int wait() {
    const int status = blocking([this] {
      int value = 0;
      while (::waitpid(pid_, &value, 0) < 0 && errno == EINTR) {
      }
      return value;
    });
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = -1;
  PipeReader log_;
  std::string said_;
};

// What stands between `from` and the next ',' or ' ' in `line`.
std::string part(const std::string& line, std::string_view from) {
  const std::size_t at = line.find(from);
  if (at == std::string::npos) return {};
  const std::size_t begin = at + from.size();
  return line.substr(begin, line.find_first_of(", ", begin) - begin);
}

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
    EXPECT_NE(echo.ready_line().find("the socket's path exists"), std::string::npos);
    EXPECT_EQ(echo.wait(), 1);
    EXPECT_TRUE(stat_file(path));
    ASSERT_TRUE(unlink_file(path));
    ASSERT_TRUE(remove_directory(folder));
  });
}

}  // namespace
}  // namespace heddle::net
