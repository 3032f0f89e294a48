// Starting and reaping.
//
//     start(): posix_spawn --> running --the child ends--> zombie --reaper: waitpid--> reaped: `done` is closed
//
// Each child has a reaper, a goroutine that waits for its pidfd (or, without one, for waitid(2) on a helper thread).
//
// I1. A child that ended keeps its number until waitpid(2): who only waits asks with WNOWAIT, and the reaper calls waitpid
//     under lock_, where it also says so. kill() looks under the same lock; so it never meets another process's number.
// I2. `status` and `error` are written by the reaper before it closes `done`, and read by who has seen that.
// I3. The descriptors that the child gets are first copied to numbers above all that it shall have: so none of them is
//     overwritten before it is put in its place, whatever numbers they had. Copies and pipes are close-on-exec here, so no
//     other child that is started meanwhile gets them.
#include <heddle/net/process.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <new>
#include <span>

#include <heddle/core/blocking.h>
#include <heddle/core/go.h>
#include <heddle/core/lock.h>
#include <heddle/core/wait_group.h>
#include <heddle/net/internal/fd_use.h>
#include <heddle/net/owned_fd.h>

extern char** environ;

namespace heddle::net {

namespace detail {

struct Child {
  // constant
  pid_t pid = -1;
  bool group = false;
  Chan<Done> done;

  RawMutex lock{LockRank::kLeaf};
  bool reaped = false;  // guarded by lock

  // the reaper's, until `done` is closed (I2); on_end from the moment it is told that there is a child
  std::optional<StopFunc> on_end;  // the function that waits for the context's end
  ExitStatus status;
  Error error;

  Result<void> kill(int signal) noexcept {
    const LockGuard guard(lock);
    if (reaped) return std::unexpected(Error{Code::kClosed, 0, "kill"});
    if (::kill(group ? -pid : pid, signal) == 0) return {};
    return std::unexpected(Error::from_errno(errno, "kill"));
  }
};

namespace {
constinit std::atomic<bool> no_pidfds{false};
}
void forbid_pidfds_for_test(bool forbid) noexcept { no_pidfds.store(forbid); }

}  // namespace detail

namespace {

using detail::Child;

// True when the child has ended, though it is not reaped. -EAGAIN: not yet; else what waitid(2) says.
[[gnu::noinline]] int has_ended(pid_t pid, int flags) noexcept {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT | flags) == 0)
      return info.si_pid == 0 ? -EAGAIN : 0;
    if (errno != EINTR) return -errno;
  }
}

[[gnu::noinline]] int open_pidfd(pid_t pid) noexcept {
  if (detail::no_pidfds.load()) return -ENOSYS;
  const long fd = ::syscall(SYS_pidfd_open, pid, 0);
  return fd < 0 ? -errno : static_cast<int>(fd);
}

// Parks until the child has ended. Returns 0 or -errno.
int await_end(pid_t pid) {
  if (const int fd = open_pidfd(pid); fd >= 0) {
    if (const Result<detail::Handle> handle = adopt_fd(OwnedFd(fd), "wait")) {
      const Descriptor owner(*handle);
      const Inside inside(*handle, FdUse::kRead, "wait");
      while (inside) {
        if (const int status = has_ended(pid, WNOHANG); status != -EAGAIN) return status;
        if (wait_for(*inside, Mode::kRead, nullptr, "wait").code != Code::kOk) break;
      }
    }
  }
  // Without a pidfd nobody tells: so it is looked at. A thread that waited would keep run() from ending, and its place
  // from others.
  using std::chrono::milliseconds;
  for (Duration pause = milliseconds(1);; pause = std::min<Duration>(2 * pause, milliseconds(50))) {
    if (const int status = has_ended(pid, WNOHANG); status != -EAGAIN) return status;
    sleep(pause);
  }
}

// The reaper.
void reap(Child& child) {
  int result = await_end(child.pid);
  {
    const LockGuard guard(child.lock);  // I1
    int value = 0;
    if (result == 0 && ::waitpid(child.pid, &value, WNOHANG) != child.pid) result = -ECHILD;
    child.reaped = true;
    if (WIFSIGNALED(value)) {
      child.status.signal = WTERMSIG(value);
    } else {
      child.status.code = WEXITSTATUS(value);
    }
  }
  if (result != 0) child.error = Error{Code::kUnsupported, -result, "wait"};
  if (child.on_end) {
    (*child.on_end)();
    child.on_end.reset();  // it holds us
  }
}

void end_child(Child& child, Duration grace) {
  if (grace > Duration::zero()) {
    static_cast<void>(child.kill(SIGTERM));
    bool ended = false;
    select(on_recv(child.done, [&] { ended = true; }), on_timeout(grace, [] {}));
    if (ended) return;
  }
  static_cast<void>(child.kill(SIGKILL));
}

std::vector<char*> pointers(const std::vector<std::string>& texts, const std::string* first = nullptr) {
  std::vector<char*> out;
  out.reserve(texts.size() + 2);
  if (first != nullptr) out.push_back(const_cast<char*>(first->c_str()));
  for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));  // posix_spawn only reads them
  out.push_back(nullptr);
  return out;
}

// What the child's descriptors 0, 1, 2, … are made of.
class Plumbing {
 public:
  explicit Plumbing(const Command& command) : lowest_(3 + static_cast<int>(command.extra_fds.size())) {}

  /// Makes `io` the child's next descriptor; `ours` is our end, if it is a pipe. Returns 0 or -errno.
  int add(const Stdio& io, bool child_reads, OwnedFd* ours) {
    switch (io.kind()) {
      case Stdio::Kind::kNull: return take(::open("/dev/null", (child_reads ? O_RDONLY : O_WRONLY) | O_CLOEXEC), true);
      case Stdio::Kind::kInherit: return take(static_cast<int>(theirs_.size()), false);
      case Stdio::Kind::kFd: return take(io.number(), false);
      case Stdio::Kind::kPipe: break;
    }
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) < 0) return -errno;
    *ours = OwnedFd(fds[child_reads ? 1 : 0]);
    return take(fds[child_reads ? 0 : 1], true);
  }
  int add_fd(int fd) { return take(fd, false); }

  [[nodiscard]] int describe(posix_spawn_file_actions_t* actions) const {
    int error = 0;
    for (std::size_t i = 0; i < theirs_.size() && error == 0; ++i) {
      error = ::posix_spawn_file_actions_adddup2(actions, theirs_[i].get(), static_cast<int>(i));
    }
    // Libraries may have descriptors that are not close-on-exec.
    if (error == 0) error = ::posix_spawn_file_actions_addclosefrom_np(actions, lowest_);
    return error;
  }

 private:
  // A copy above what the child shall have (I3); `owned`: `fd` is closed. errno is set if it is negative.
  int take(int fd, bool owned) {
    if (fd < 0) return owned ? -errno : -EBADF;
    const OwnedFd original(owned ? fd : -1);
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, lowest_);
    if (copy < 0) return -errno;
    theirs_.emplace_back(copy);
    return 0;
  }

  const int lowest_;
  std::vector<OwnedFd> theirs_;
};

// Returns 0 or an errno. On a helper thread.
int spawn_child(const Command& command, const Plumbing& plumbing, pid_t* pid) {
  const std::vector<char*> argv = pointers(command.args, &command.program);
  const std::vector<char*> env = command.env ? pointers(*command.env) : std::vector<char*>();
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  if (const int error = ::posix_spawn_file_actions_init(&actions); error != 0) return error;
  int error = ::posix_spawnattr_init(&attributes);
  if (error == 0) {
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (command.own_group) flags |= POSIX_SPAWN_SETPGROUP;
    ::posix_spawnattr_setflags(&attributes, flags);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    if (!command.directory.empty()) error = ::posix_spawn_file_actions_addchdir_np(&actions, command.directory.c_str());
    if (error == 0) error = plumbing.describe(&actions);
    if (error == 0) {
      error = ::posix_spawnp(pid, command.program.c_str(), &actions, &attributes, argv.data(),
                             command.env ? env.data() : environ);
    }
    ::posix_spawnattr_destroy(&attributes);
  }
  ::posix_spawn_file_actions_destroy(&actions);
  return error;
}

// Which of the two names in a command does `error` mean?
StartError blame(const Command& command, int error) {
  Error why = Error::from_errno(error, "start");
  if (error == EAGAIN) why.code = Code::kNoResources;  // the limit of processes: clone(2)
  switch (why.code) {
    case Code::kNotFound:
    case Code::kDenied: break;
    default:
      if (error != ENOTDIR && error != ENOEXEC && error != ELOOP && error != ENAMETOOLONG) return {why, ""};
  }
  struct stat status;
  const bool can_go =
      command.directory.empty() || (::stat(command.directory.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
                                    ::access(command.directory.c_str(), X_OK) == 0);
  return {why, can_go ? command.program : command.directory};
}

template <class End>
Result<void> adopt_end(End& end, OwnedFd fd) {
  if (!fd) return {};
  Result<End> made = End::adopt(fd.release());
  if (!made) return std::unexpected(made.error());
  end = std::move(*made);
  return {};
}

// Reads to the end, and keeps the first `limit` bytes. True if that is all there was.
bool collect(PipeReader& from, std::string& to, std::size_t limit) {
  bool whole = true;
  const auto keep = [&](std::span<const std::byte> bytes) {
    const std::size_t kept = std::min(bytes.size(), limit - to.size());
    to.append(reinterpret_cast<const char*>(bytes.data()), kept);
    whole = whole && kept == bytes.size();
  };
  std::array<std::byte, 16 * 1024> buffer;
  for (;;) {
    const Result<std::size_t> n = from.read(buffer);
    if (!n && n.error().code == Code::kTimeout) break;
    if (!n) return false;
    if (*n == 0) return whole;
    keep(std::span(buffer).first(*n));
  }
  // Time is over. What has been written by now is read all the same, however late we are; but no more: whoever has the
  // other end may write for ever.
  int left = 0;
  if (::ioctl(from.native_handle(), FIONREAD, &left) < 0) return false;
  from.set_read_deadline(kNoDeadline);
  while (left > 0) {
    const std::size_t most = std::min(buffer.size(), static_cast<std::size_t>(left));
    const Result<std::size_t> n = from.read(std::span(buffer).first(most));
    if (!n || *n == 0) break;
    keep(std::span(buffer).first(*n));
    left -= static_cast<int>(*n);
  }
  pollfd end{from.native_handle(), POLLIN, 0};  // the end of the stream alone: it is whole
  return ::poll(&end, 1, 0) == 1 && (end.revents & (POLLIN | POLLHUP)) == POLLHUP && whole;
}

}  // namespace

std::string ExitStatus::to_string() const {
  if (signal == 0) return "exit status " + std::to_string(code);
  const char* text = ::sigdescr_np(signal);
  return "signal: " + (text != nullptr ? std::string(text) : std::to_string(signal));
}

std::string StartError::message() const {
  if (what.empty()) return error.message();
  Error named = error;
  named.op = "";
  return what + ": " + named.message();
}

Process::Process(std::shared_ptr<detail::Child> child) noexcept : child_(std::move(child)) {}
Process::Process(Process&&) noexcept = default;
Process& Process::operator=(Process&&) noexcept = default;
Process::~Process() = default;

std::expected<Process, StartError> Process::start(const Command& command) {
  static_cast<void>(must_current_g("net: Process::start"));
  const auto fail = [](Error error) { return std::unexpected(StartError{error, ""}); };
  if (const std::optional<Error> end = command.ctx.err()) return fail({end->code, 0, "start"});
  auto child = std::make_shared<Child>();
  child->group = command.own_group;
  child->done = make_chan<Done>();
  Process process(child);
  const auto started = make_chan<bool>(1);
  // Whatever becomes of us, the reaper hears whether there is a child.
  struct Tell {
    const Chan<bool>& reaper;
    bool due = false;
    bool there_is_one = false;
    void now() {
      if (std::exchange(due, false)) reaper.send(there_is_one);
    }
    ~Tell() { now(); }
  } tell{started};
  {
    Plumbing plumbing(command);
    OwnedFd in;
    OwnedFd out;
    OwnedFd err;
    int error = plumbing.add(command.in, true, &in);
    if (error == 0) error = plumbing.add(command.out, false, &out);
    if (error == 0) error = plumbing.add(command.err, false, &err);
    for (const int fd : command.extra_fds) error = error == 0 ? plumbing.add_fd(fd) : error;
    if (error == -EBADF) return fail({Code::kInvalid, EBADF, "start"});
    if (error != 0) return fail(Error::from_errno(-error, "start"));
    if (const Result<void> made = adopt_end(process.in_, std::move(in)); !made) return fail(made.error());
    if (const Result<void> made = adopt_end(process.out_, std::move(out)); !made) return fail(made.error());
    if (const Result<void> made = adopt_end(process.err_, std::move(err)); !made) return fail(made.error());
    // The reaper first: once there is a child nothing may fail.
    go({.name = "reaper"}, [child, started] {
      if (started.recv().value_or(false)) reap(*child);
      child->done.close();
    });
    tell.due = true;
    const int failed = blocking([&] { return spawn_child(command, plumbing, &child->pid); });
    tell.there_is_one = failed == 0;
    if (failed != 0) {
      tell.now();
      static_cast<void>(child->done.recv());
      return std::unexpected(blame(command, failed));
    }
  }
  try {
    if (command.ctx.can_be_done()) {  // known to the reaper when it is told
      child->on_end.emplace(after_func(command.ctx, [child, grace = command.grace] { end_child(*child, grace); }));
    }
  } catch (const std::bad_alloc&) {
    static_cast<void>(child->kill(SIGKILL));
    throw;
  }
  return process;
}

pid_t Process::pid() const noexcept { return child_->pid; }

Result<ExitStatus> Process::wait() { return wait(Context()); }

Result<ExitStatus> Process::wait(const Context& ctx) {
  static_cast<void>(must_current_g("net: Process::wait"));
  const std::shared_ptr<Child> child = child_;
  Done nothing;
  if (child->done.try_recv(nothing) != TryRecv::kClosed) {  // first: who has ended has, whatever the context says
    const Result<std::optional<Done>> end = recv(ctx, child->done);
    if (!end) return std::unexpected(Error{end.error().code, 0, "wait"});
  }
  if (child->error.code != Code::kOk) return std::unexpected(child->error);
  return child->status;
}

Result<ExitStatus> Process::wait(TimePoint deadline) {
  const auto [ctx, cancel] = with_deadline(Context(), deadline);
  Result<ExitStatus> status = wait(ctx);
  cancel();
  return status;
}

Result<void> Process::kill(int signal) {
  static_cast<void>(must_current_g("net: Process::kill"));
  return child_->kill(signal);
}

std::expected<Output, StartError> output(Command command, const OutputOptions& options) {
  command.out = command.err = Stdio::pipe();
  if (!options.input.empty()) command.in = Stdio::pipe();
  std::expected<Process, StartError> started = Process::start(command);
  if (!started) return std::unexpected(started.error());
  Process process = std::move(*started);
  Output result;
  bool whole_out = false;
  bool whole_err = false;
  WaitGroup readers;
  WaitGroup writer;
  readers.go([&] { whole_out = collect(process.out(), result.out, options.limit); });
  readers.go([&] { whole_err = collect(process.err(), result.err, options.limit); });
  if (!options.input.empty()) {
    writer.go([&] {
      static_cast<void>(process.in().write(std::as_bytes(std::span(options.input))));  // it need not read all of it
      process.in().close();
    });
  } else {
    process.in().close();
  }
  const Result<ExitStatus> status = process.wait();
  const TimePoint until = now() + options.after_exit;
  process.out().set_read_deadline(until);
  process.err().set_read_deadline(until);
  readers.wait();
  process.in().close();
  writer.wait();
  if (!status) return std::unexpected(StartError{status.error(), ""});
  result.status = *status;
  result.truncated = !whole_out || !whole_err;
  return result;
}

}  // namespace heddle::net
