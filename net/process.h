// Child processes for goroutines: started with pipes to talk through, waited for without a thread, ended with a context.
//
//     auto child = net::Process::start({.program = "sort", .args = {"-n"}, .in = Stdio::pipe(), .out = Stdio::pipe()});
//     if (!child) return log(child.error().message());         // "sort: No such file or directory (ENOENT 2)"
//     child->in().write(…); child->in().close();
//     … child->out().read(…) …
//     auto status = child->wait();
//
//     auto listing = net::output({.program = "ls", .args = {"-l"}, .ctx = ctx});   // runs it and collects what it says
//
// A child starts clean: no descriptor but those that it was given, no signal blocked, each with its default action. It is
// always reaped, also if its Process is dropped; then it runs on. A Process belongs to the run() in which it was made; a child
// that is left when that ends runs on, too, and its reaper is reported as a goroutine left behind.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/net/pipe.h>

namespace heddle::net {

/// What a child's standard input, output or error is.
class Stdio {
 public:
  enum class Kind : std::uint8_t { kNull, kInherit, kPipe, kFd };

  [[nodiscard]] static constexpr Stdio null() noexcept { return {Kind::kNull, -1}; }        // /dev/null
  [[nodiscard]] static constexpr Stdio inherit() noexcept { return {Kind::kInherit, -1}; }  // this process's own
  [[nodiscard]] static constexpr Stdio pipe() noexcept { return {Kind::kPipe, -1}; }        // Process::in() …
  /// The open file `fd`, which stays the caller's: it may be closed when start() has returned. Both share its position, and
  /// whether it is non-blocking.
  [[nodiscard]] static constexpr Stdio fd(int number) noexcept { return {Kind::kFd, number}; }

  [[nodiscard]] constexpr Kind kind() const noexcept { return kind_; }
  [[nodiscard]] constexpr int number() const noexcept { return number_; }

 private:
  constexpr Stdio(Kind k, int n) noexcept : kind_(k), number_(n) {}
  Kind kind_;
  int number_;
};

/// What to run, and how.
struct Command {
  std::string program;                 // a path, if there is a '/' in it; else a name that is looked for along our PATH
  std::vector<std::string> args = {};  // without the program's own name
  std::optional<std::vector<std::string>> env = {};  // "NAME=value" each; none: ours
  std::string directory = {};  // where it starts; empty: where we are. A relative path counts from there

  Stdio in = Stdio::null();
  Stdio out = Stdio::null();
  Stdio err = Stdio::null();
  std::vector<int> extra_fds = {};  // become 3, 4, … there; as Stdio::fd()

  /// A process group of its own: the terminal's Ctrl-C does not reach it, and kill() and the context's end mean all of it.
  bool own_group = false;

  Context ctx = {};     // its end ends the child
  Duration grace = {};  // how: SIGTERM, and SIGKILL when this is over; zero: SIGKILL at once
};

/// How a child ended.
struct ExitStatus {
  int code = 0;    // what it returned, if no signal ended it
  int signal = 0;  // which signal ended it, or 0

  [[nodiscard]] bool ok() const noexcept { return code == 0 && signal == 0; }
  /// "exit status 1", "signal: Killed".
  [[nodiscard]] std::string to_string() const;
  friend bool operator==(const ExitStatus&, const ExitStatus&) = default;
};

/// Why a child was not started, and what of it is to blame.
struct StartError {
  Error error;
  std::string what;  // the program, or the directory, or "" if it is neither

  /// "sort: No such file or directory (ENOENT 2)".
  [[nodiscard]] std::string message() const;
  operator Error() const noexcept { return error; }  // NOLINT: a Result's error can be made of it
};

namespace detail {
struct Child;
}

/// A child process. Movable; the destructor closes our ends of its pipes and lets it run.
///
/// Threads: moving and destroying are for who owns it alone, all else is for any goroutine; pipes as pipe.h says.
class Process {
 public:
  explicit Process(std::shared_ptr<detail::Child> child) noexcept;
  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  ~Process();

  /// Starts it.
  ///
  /// Errors:  kNotFound, kDenied … if the program cannot be run, or the directory cannot be gone to: StartError::what says
  ///          which; kInvalid for an `fd` that is none; kNoResources; the context's code if it has ended.
  /// Threads: a goroutine. It takes about a millisecond, on a helper thread. The environment must not be changed meanwhile.
  [[nodiscard]] static std::expected<Process, StartError> start(const Command& command);

  [[nodiscard]] pid_t pid() const noexcept;

  /// Our ends of its pipes; closed if it was not to have one. Who closes in() ends its input.
  [[nodiscard]] PipeWriter& in() noexcept { return in_; }
  [[nodiscard]] PipeReader& out() noexcept { return out_; }
  [[nodiscard]] PipeReader& err() noexcept { return err_; }

  /// Parks until it has ended. What it wrote into pipes can still be read. Any number may wait, also again.
  ///
  /// Errors:  kUnsupported if this process lets the kernel throw exit statuses away (SIGCHLD is ignored), or somebody else
  ///          waited for it.
  [[nodiscard]] Result<ExitStatus> wait();
  /// The same within `ctx`, or until `deadline`, which end the call and not the child. Errors: kTimeout, the context's code.
  [[nodiscard]] Result<ExitStatus> wait(const Context& ctx);
  [[nodiscard]] Result<ExitStatus> wait(TimePoint deadline);

  /// Sends it a signal. It never reaches another process that has got its number.
  ///
  /// Errors:  kClosed if it has ended; kInvalid for no signal; kDenied if it has other rights now.
  Result<void> kill(int signal);

 private:
  std::shared_ptr<detail::Child> child_;
  PipeWriter in_;
  PipeReader out_, err_;
};

/// What a command said, and how it ended.
struct Output {
  ExitStatus status;
  std::string out, err;
  bool truncated = false;  // it said more than the limit, or a process that it left behind may still say something
};

struct OutputOptions {
  std::string_view input = {};               // what its standard input is; empty: as Command::in says
  std::size_t limit = std::size_t{1} << 20;  // bytes that are kept of each stream; the rest is read and thrown away
  /// How long to go on reading after it has ended: a process that it left behind may keep the pipes open for ever.
  Duration after_exit = std::chrono::seconds(1);
};

/// Runs the command to its end and collects its standard output and error (whatever command.out and .err say).
///
/// Errors:  as start(), wait(). A status that is not zero is no error. Lifetime: `options.input` until it returns.
/// Threads: a goroutine.
[[nodiscard]] std::expected<Output, StartError> output(Command command, const OutputOptions& options = {});

namespace detail {
/// Has children be waited for without pidfd_open(2), as on kernels before 5.3. For tests.
void forbid_pidfds_for_test(bool forbid) noexcept;
}  // namespace detail

}  // namespace heddle::net
