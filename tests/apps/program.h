// A program of ours as a process: started with flags, asked where it listens, stopped by SIGTERM.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <heddle/core/blocking.h>
#include <heddle/net/pipe.h>

extern char** environ;

namespace heddle::net::test {

/// The program at `path` with `flags`, and its standard error. Threads: one goroutine.
class Program {
 public:
  Program(std::string path, std::vector<std::string> flags) {
    std::vector<char*> argv{path.data()};
    for (std::string& flag : flags) argv.push_back(flag.data());
    argv.push_back(nullptr);
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) < 0) std::abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
    if (::posix_spawn(&pid_, path.c_str(), &actions, nullptr, argv.data(), environ) != 0) std::abort();
    posix_spawn_file_actions_destroy(&actions);
    ::close(fds[1]);
    Result<PipeReader> reader = PipeReader::adopt(fds[0]);
    if (!reader) std::abort();
    log_ = std::move(*reader);
    log_.set_read_deadline(now() + std::chrono::seconds(60));
  }
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /// The line that says that it is ready, or all that it said if it ended before.
  std::string ready_line() { return wait_for("listening on "); }

  /// What it says from the first `text` on, to the end of that line, or all that it said if it ended before.
  std::string wait_for(std::string_view text) {
    std::byte one;
    for (;;) {
      const Result<std::size_t> n = log_.read({&one, 1});
      if (!n || *n == 0) return said_;
      said_.push_back(static_cast<char>(one));
      if (one != std::byte{'\n'}) continue;
      if (const std::size_t at = said_.find(text); at != std::string::npos) return said_.substr(at);
    }
  }

  [[nodiscard]] pid_t pid() const { return pid_; }

  void terminate() { ::kill(pid_, SIGTERM); }

  int stop() {
    terminate();
    return wait();
  }

  /// Its exit status, or -1 if it died.
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

/// What stands between `from` and the next ',' or white space in `line`.
inline std::string part(const std::string& line, std::string_view from) {
  const std::size_t at = line.find(from);
  if (at == std::string::npos) return {};
  const std::size_t begin = at + from.size();
  return line.substr(begin, line.find_first_of(", \n", begin) - begin);
}

}  // namespace heddle::net::test
