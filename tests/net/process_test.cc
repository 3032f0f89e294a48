// Children: what they get, what they say, how they end, and that nothing is left of them.
#include <heddle/net/process.h>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include <heddle/net/file.h>

#include "net_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

Command shell(std::string script) { return {.program = "/bin/sh", .args = {"-c", std::move(script)}}; }

template <class T>
T started(std::expected<T, StartError> result) {
  if (!result) {
    ADD_FAILURE() << result.error().message();
    std::abort();
  }
  return std::move(*result);
}

std::string read_all(PipeReader& from) {
  std::string all;
  std::byte buf[1000];
  from.set_read_deadline(patience());
  for (;;) {
    const Result<std::size_t> n = from.read(buf);
    if (!n) ADD_FAILURE() << n.error().message();
    if (!n || *n == 0) return all;
    all.append(reinterpret_cast<const char*>(buf), *n);
  }
}

// This process has no child, running or dead.
void expect_no_children() {
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

// With pidfds, and as on a kernel without.
class ProcessTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { detail::forbid_pidfds_for_test(!GetParam()); }
  void TearDown() override { detail::forbid_pidfds_for_test(false); }
};
INSTANTIATE_TEST_SUITE_P(pidfd, ProcessTest, testing::Bool());

TEST_P(ProcessTest, it_talks_through_pipes_and_tells_how_it_ended) {
  with_procs(2, [] {
    Command command = shell("read line; echo \"got $line\"; echo problem >&2; exit 3");
    command.in = command.out = command.err = Stdio::pipe();
    Process child = started(Process::start(command));
    EXPECT_GT(child.pid(), 0);
    ASSERT_TRUE(child.in().write(std::as_bytes(std::span("hello\n", 6))));
    EXPECT_EQ(read_all(child.out()), "got hello\n");
    EXPECT_EQ(read_all(child.err()), "problem\n");
    EXPECT_EQ(child.wait(), (ExitStatus{.code = 3}));
    EXPECT_EQ(child.wait(now() - 1s), (ExitStatus{.code = 3}));  // it has ended: no matter how late
    EXPECT_EQ(child.kill(SIGTERM).error().code, Code::kClosed);
  });
  expect_no_children();
}

TEST_P(ProcessTest, a_signal_that_ended_it_is_told) {
  with_procs(2, [] {
    Process child = started(Process::start({.program = "sleep", .args = {"1000"}}));
    const Result<ExitStatus> early = child.wait(now() + 1ms);
    ASSERT_FALSE(early);
    EXPECT_EQ(early.error().code, Code::kTimeout);
    auto [ctx, cancel] = with_cancel({});
    cancel();
    EXPECT_EQ(child.wait(ctx).error().code, Code::kCanceled);
    ASSERT_TRUE(child.kill(SIGTERM));
    const Result<ExitStatus> status = child.wait();
    EXPECT_EQ(status, (ExitStatus{.signal = SIGTERM}));
    EXPECT_EQ(status->to_string(), "signal: Terminated");
  });
  expect_no_children();
}

TEST_P(ProcessTest, many_wait_for_one_and_one_for_many) {
  with_procs(2, [] {
    std::vector<Process> children;
    for (int i = 0; i < 20; ++i) children.push_back(started(Process::start(shell("exit " + std::to_string(i)))));
    WaitGroup wg;
    for (int k = 0; k < 3; ++k) {
      wg.go([&] {
        for (int i = 0; i < 20; ++i) EXPECT_EQ(children[static_cast<std::size_t>(i)].wait(), (ExitStatus{.code = i}));
      });
    }
    wg.wait();
  });
  expect_no_children();
}

TEST_P(ProcessTest, one_that_is_dropped_is_reaped_all_the_same) {
  with_procs(2, [] {
    pid_t pid = 0;
    {
      Command command = shell("read line");
      command.in = Stdio::pipe();
      Process child = started(Process::start(command));
      pid = child.pid();
    }  // closes its input: it ends
    const TimePoint limit = patience();
    while (::kill(pid, 0) == 0 && now() < limit) sleep(1ms);
    EXPECT_LT(now(), limit);
  });
  expect_no_children();
}

TEST_P(ProcessTest, the_end_of_its_context_ends_it) {
  with_procs(2, [] {
    for (const Duration grace : {Duration(0), Duration(60s)}) {
      auto [ctx, cancel] = with_cancel({});
      Command command = shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done");
      command.out = Stdio::pipe();
      command.ctx = ctx;
      command.grace = grace;
      Process child = started(Process::start(command));
      std::byte buf[3];
      ASSERT_EQ(child.out().read_full(buf), std::size_t{3});
      cancel();
      EXPECT_EQ(child.wait(), grace == Duration(0) ? (ExitStatus{.signal = SIGKILL}) : (ExitStatus{.code = 7}));
    }
    // One that does not hear is killed when the grace is over.
    auto [ctx, cancel] = with_cancel({});
    Command command = shell("trap '' TERM; echo up; while :; do sleep 0.01; done");
    command.out = Stdio::pipe();
    command.ctx = ctx;
    command.grace = 10ms;
    Process child = started(Process::start(command));
    std::byte buf[3];
    ASSERT_EQ(child.out().read_full(buf), std::size_t{3});
    cancel();
    EXPECT_EQ(child.wait(), (ExitStatus{.signal = SIGKILL}));
    // With one that is done already nothing is started.
    command.ctx = ctx;
    const auto none = Process::start(command);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().error.code, Code::kCanceled);
  });
  expect_no_children();
}

TEST_P(ProcessTest, a_group_of_its_own_ends_as_a_whole) {
  with_procs(2, [] {
    Command command = shell("sleep 1000 & echo up; wait");
    command.out = Stdio::pipe();
    command.own_group = true;
    Process child = started(Process::start(command));
    std::byte buf[3];
    ASSERT_EQ(child.out().read_full(buf), std::size_t{3});
    ASSERT_TRUE(child.kill(SIGKILL));
    EXPECT_EQ(child.wait(), (ExitStatus{.signal = SIGKILL}));
    EXPECT_EQ(read_all(child.out()), "");  // the end comes: the grandchild held the pipe, too
  });
  expect_no_children();
}

TEST(Process, what_cannot_be_started_is_told_by_name) {
  with_procs(2, [] {
    const int before = open_fds();
    const auto none = Process::start({.program = "/nowhere/at-all", .in = Stdio::pipe()});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().error.code, Code::kNotFound);
    EXPECT_EQ(none.error().message(), "/nowhere/at-all: No such file or directory (ENOENT 2)");
    EXPECT_EQ(Process::start({.program = "no-such-program-anywhere"}).error().what, "no-such-program-anywhere");
    const auto denied = Process::start({.program = "/etc/passwd"});
    ASSERT_FALSE(denied);
    EXPECT_EQ(denied.error().error.code, Code::kDenied);
    EXPECT_EQ(denied.error().what, "/etc/passwd");
    const auto lost = Process::start({.program = "true", .directory = "/nowhere"});
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().error.code, Code::kNotFound);
    EXPECT_EQ(lost.error().what, "/nowhere");
    const auto no_fd = Process::start({.program = "true", .in = Stdio::fd(100'000)});
    ASSERT_FALSE(no_fd);
    EXPECT_EQ(no_fd.error().error.code, Code::kInvalid);
    EXPECT_EQ(open_fds(), before);
  });
  expect_no_children();
}

TEST(Process, it_has_the_environment_and_the_directory_that_it_is_given) {
  with_procs(2, [] {
    Command command = shell("echo \"$ONE-$HOME\"; pwd");
    command.env = {"ONE=1"};
    command.directory = "/usr";
    EXPECT_EQ(started(output(command)).out, "1-\n/usr\n");
    ASSERT_EQ(::setenv("HEDDLE_PROCESS_TEST", "ours", 1), 0);
    EXPECT_EQ(started(output(shell("echo $HEDDLE_PROCESS_TEST"))).out, "ours\n");
    ::unsetenv("HEDDLE_PROCESS_TEST");
  });
}

TEST(Process, it_has_the_descriptors_that_it_is_given_and_no_other) {
  with_procs(2, [] {
    // Some that a careless library left open, at numbers in the child's way.
    int careless[2];
    ASSERT_EQ(::pipe2(careless, 0), 0);
    const int high = ::fcntl(careless[0], F_DUPFD, 50);
    ASSERT_GE(high, 50);
    int back[2];
    ASSERT_EQ(::pipe2(back, O_CLOEXEC), 0);
    const std::string folder = "/proc/self/fd";
    Command command = shell("echo to-four >&4; exec ls " + folder);
    command.err = Stdio::fd(back[1]);  // given twice
    command.extra_fds = {careless[0], back[1]};
    const Output said = started(output(command));
    EXPECT_EQ(said.out, "0\n1\n2\n3\n4\n5\n");  // 5: the folder that ls reads
    char text[20] = {};
    EXPECT_EQ(::read(back[0], text, sizeof text), 8);
    EXPECT_STREQ(text, "to-four\n");
    for (const int fd : {careless[0], careless[1], high, back[0], back[1]}) ::close(fd);
  });
}

TEST(Process, one_of_the_lowest_descriptors_can_be_given_twice) {
  with_procs(2, [] {
    int fds[2];
    ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
    const int saved[2] = {::dup(STDOUT_FILENO), ::dup(STDERR_FILENO)};
    ::dup2(fds[1], STDERR_FILENO);  // ours goes into the pipe, and the child's output there
    Command command = shell("echo out; echo err >&2");
    command.out = Stdio::fd(STDERR_FILENO);
    command.err = Stdio::fd(STDERR_FILENO);
    Process child = started(Process::start(command));
    EXPECT_TRUE(child.wait()->ok());
    ::dup2(saved[1], STDERR_FILENO);
    char text[20] = {};
    EXPECT_EQ(::read(fds[0], text, sizeof text), 8);
    EXPECT_STREQ(text, "out\nerr\n");
    for (const int fd : {fds[0], fds[1], saved[0], saved[1]}) ::close(fd);
  });
}

TEST(Process, its_signals_are_as_a_fresh_process_has_them) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);  // the scheduler's threads inherit it
  const auto ignored = ::signal(SIGHUP, SIG_IGN);
  with_procs(2, [] {
    const std::string said = started(output({.program = "cat", .args = {"/proc/self/status"}})).out;
    for (const std::string name : {"SigBlk:\t", "SigIgn:\t", "SigCgt:\t"}) {
      const std::size_t at = said.find(name);
      ASSERT_NE(at, std::string::npos);
      // Signals 32 and 33 are the C library's own: its posix_spawn has them ignored until its start-up code comes.
      const std::uint64_t bits = std::stoull(said.substr(at + name.size(), 16), nullptr, 16);
      EXPECT_EQ(bits & ~std::uint64_t{0x1'8000'0000}, 0U) << name;
    }
  });
  ::signal(SIGHUP, ignored);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(Process, output_collects_both_streams_without_a_deadlock) {
  with_procs(2, [] {
    const std::string input(300'000, 'i');  // more than pipes hold, in all three directions
    Command command = shell("cat >&2; head -c 200000 /dev/zero; exit 4");
    const Output said = started(output(command, {.input = input}));
    EXPECT_EQ(said.err, input);
    EXPECT_EQ(said.out, std::string(200'000, '\0'));
    EXPECT_EQ(said.status.code, 4);
    EXPECT_FALSE(said.truncated);

    const Output some = started(output(command, {.input = input, .limit = 1000}));
    EXPECT_EQ(some.err, input.substr(0, 1000));
    EXPECT_EQ(some.out.size(), 1000U);
    EXPECT_TRUE(some.truncated);
    EXPECT_EQ(some.status.code, 4);

    // One that reads nothing of its input, and one without output.
    EXPECT_EQ(started(output({.program = "true"}, {.input = input})).status, ExitStatus{});
  });
  expect_no_children();
}

TEST(Process, output_does_not_wait_for_what_the_child_left_behind) {
  with_procs(2, [] {
    Command command = shell("sleep 1000 & echo $!");
    const Output said = started(output(command, {.after_exit = 10ms}));
    EXPECT_TRUE(said.truncated);
    EXPECT_TRUE(said.status.ok());
    const pid_t left = std::stoi(said.out);
    EXPECT_EQ(::kill(left, SIGKILL), 0);
  });
}

TEST(Process, nothing_is_left_open) {
  with_procs(2, [] {
    started(output({.program = "true"}));
    const int before = open_fds();
    for (int i = 0; i < 20; ++i) {
      Command command = shell("cat");
      command.in = command.out = command.err = Stdio::pipe();
      Process child = started(Process::start(command));
      child.in().close();
      EXPECT_EQ(read_all(child.out()), "");
      EXPECT_TRUE(child.wait()->ok());
    }
    const TimePoint limit = patience();
    while (open_fds() > before && now() < limit) sleep(1ms);  // pollers close in their own time, also what was before
    EXPECT_LE(open_fds(), before);
  });
}

}  // namespace
}  // namespace heddle::net
