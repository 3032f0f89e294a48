#include <heddle/core/internal/procs.h>

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

constexpr std::size_t kLine = std::size_t{16} << 10;  // of mountinfo: two paths, each byte of them perhaps as "\040"

// A path built without malloc. One that does not fit is invalid; the kernel would refuse it as well.
class Path {
 public:
  Path& add(std::string_view part) noexcept {
    if (size_ + part.size() >= sizeof text_) {
      fits_ = false;
      return *this;
    }
    std::memcpy(text_ + size_, part.data(), part.size());
    cut(size_ + part.size());
    return *this;
  }
  void cut(std::size_t size) noexcept { text_[size_ = size] = '\0'; }
  [[nodiscard]] std::string_view view() const noexcept { return {text_, size_}; }
  [[nodiscard]] int open() const noexcept { return fits_ ? ::open(text_, O_RDONLY | O_CLOEXEC) : -1; }

 private:
  char text_[PATH_MAX] = "";
  std::size_t size_ = 0;
  bool fits_ = true;
};

std::size_t read_some(int fd, char* to, std::size_t size) noexcept {
  ssize_t n = 0;
  do {
    n = ::read(fd, to, size);
  } while (n < 0 && errno == EINTR);
  return n > 0 ? static_cast<std::size_t>(n) : 0;  // an error ends the file (I2)
}

// The lines of a file; what a line has beyond kLine is dropped.
class Lines {
 public:
  explicit Lines(const Path& path) noexcept : fd_(path.open()) {}
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;
  ~Lines() {
    if (fd_ >= 0) ::close(fd_);
  }

  [[nodiscard]] bool next(std::string_view& line) noexcept {
    for (;;) {
      const std::string_view rest(text_ + begin_, end_ - begin_);
      const std::size_t newline = rest.find('\n');
      const bool full = begin_ == 0 && end_ == kLine;
      if (newline == rest.npos && !full && more()) continue;
      if (newline == rest.npos && rest.empty()) return false;
      begin_ = newline == rest.npos ? end_ : begin_ + newline + 1;
      const bool tail = dropping_;  // of a line whose beginning we gave out already
      dropping_ = newline == rest.npos;
      if (tail) continue;
      line = rest.substr(0, newline);
      return true;
    }
  }

 private:
  [[nodiscard]] bool more() noexcept {
    if (fd_ < 0) return false;
    std::memmove(text_, text_ + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    const std::size_t n = read_some(fd_, text_ + end_, kLine - end_);
    end_ += n;
    return n > 0;
  }

  int fd_;
  bool dropping_ = false;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  char text_[kLine];
};

// Cuts the part before `separator` off `text`; all of it if there is none.
std::string_view cut_token(std::string_view& text, char separator) noexcept {
  const std::size_t at = std::min(text.find(separator), text.size());
  const std::string_view token = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return token;
}

[[nodiscard]] bool has_token(std::string_view list, std::string_view wanted) noexcept {
  while (!list.empty()) {
    if (cut_token(list, ',') == wanted) return true;
  }
  return false;
}

// mountinfo writes blanks and backslashes as three octal digits. False: does not fit.
[[nodiscard]] bool unescape(std::string_view text, char (&to)[PATH_MAX]) noexcept {
  std::size_t n = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (n + 1 >= sizeof to) return false;
    const auto digit = [&](std::size_t k) { return i + k < text.size() && text[i + k] >= '0' && text[i + k] <= '7'; };
    if (text[i] == '\\' && digit(1) && digit(2) && digit(3)) {
      to[n++] = static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      to[n++] = text[i];
    }
  }
  to[n] = '\0';
  return true;
}

// Which group of the hierarchy that limits CPU time we are in.
struct Group {
  bool v1 = false;
  Path path;
};

[[nodiscard]] std::optional<Group> own_group(const char* root) noexcept {
  Path file;
  Lines lines(file.add(root).add("/proc/self/cgroup"));
  std::optional<Group> group;
  std::string_view line;
  while (lines.next(line)) {
    const std::string_view id = cut_token(line, ':');
    const std::string_view controllers = cut_token(line, ':');
    // The controller is in one hierarchy only; where v1 has it, the unified one beside it ("hybrid") knows no limits.
    const bool v1 = has_token(controllers, "cpu");
    if (line.empty() || line[0] != '/' || (!v1 && id != "0")) continue;
    group.emplace();
    group->v1 = v1;
    group->path.add(line);
    if (v1) break;
  }
  return group;
}

// What `path` has below `mount_root`: "" for the same group. nullopt if it is not below.
[[nodiscard]] std::optional<std::string_view> below(std::string_view mount_root, std::string_view path) noexcept {
  if (mount_root == "/") mount_root = "";
  if (!path.starts_with(mount_root)) return std::nullopt;
  std::string_view rest = path.substr(mount_root.size());
  if (rest == "/") rest = "";
  if (!rest.empty() && rest[0] != '/') return std::nullopt;
  // "/..": a group outside of the cgroup namespace that we look from.
  if (rest == "/.." || rest.starts_with("/../")) return std::nullopt;
  return rest;
}

// One small file, whole.
[[nodiscard]] std::string_view read_value(Path dir, std::string_view name, std::array<char, 64>& to) noexcept {
  const int fd = dir.add(name).open();
  if (fd < 0) return {};
  const std::size_t n = read_some(fd, to.data(), to.size());
  ::close(fd);
  std::string_view text(to.data(), n);
  return cut_token(text, '\n');
}

[[nodiscard]] std::int64_t number(std::string_view text) noexcept {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() ? value : -1;  // -1, like "max", sets no limit
}

[[nodiscard]] int limit_of(const Path& dir, bool v1) noexcept {
  std::array<char, 64> text;
  std::int64_t quota = 0;
  std::int64_t period = 0;
  if (v1) {
    quota = number(read_value(dir, "/cpu.cfs_quota_us", text));
    if (quota > 0) period = number(read_value(dir, "/cpu.cfs_period_us", text));
  } else {
    std::string_view both = read_value(dir, "/cpu.max", text);
    quota = number(cut_token(both, ' '));
    period = number(both);
  }
  if (quota <= 0 || period <= 0) return CpuQuota::kNone;
  const std::int64_t cpus = quota / period + (quota % period != 0 ? 1 : 0);
  return static_cast<int>(std::min<std::int64_t>(cpus, CpuQuota::kNone - 1));
}

[[nodiscard]] int affinity_cpus(std::uint32_t tid) noexcept {
  cpu_set_t sets[8];  // 8,192 CPUs: the most that Linux builds for
  std::memset(sets, 0, sizeof sets);
  if (::sched_getaffinity(static_cast<pid_t>(tid), sizeof sets, sets) == 0) return CPU_COUNT_S(sizeof sets, sets);
  return static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
}

}  // namespace

CpuQuota::CpuQuota(const char* root) noexcept : root_(root) {
  const std::optional<Group> group = own_group(root);
  Path file;
  Lines lines(file.add(root).add("/proc/self/mountinfo"));
  std::string_view line;
  while (lines.next(line)) {
    // 36 35 0:32 <root> <point> <options> <tags>... - <type> <source> <super options>
    for (int i = 0; i < 3; ++i) cut_token(line, ' ');
    const std::string_view mount_root = cut_token(line, ' ');
    const std::string_view point = cut_token(line, ' ');
    while (!line.empty() && cut_token(line, ' ') != "-") continue;
    const std::string_view type = cut_token(line, ' ');
    cut_token(line, ' ');
    const bool v1 = type == "cgroup" && has_token(line, "cpu");
    if (!v1 && type != "cgroup2") continue;
    Mount seen;
    if (!unescape(mount_root, seen.root) || !unescape(point, seen.point)) continue;
    // The same hierarchy may show at several places: best is one that shows our group, and most of what is above it.
    Mount& mount = v1 ? v1_ : v2_;
    const auto rank = [&](const Mount& m) {
      if (!m.found) return std::size_t{2 * PATH_MAX};
      const bool shows = group && group->v1 == v1 && below(m.root, group->path.view());
      return std::strlen(m.root) + (shows ? 0 : PATH_MAX);
    };
    seen.found = true;
    if (rank(seen) < rank(mount)) mount = seen;
  }
}

int CpuQuota::cpus() const noexcept {
  const std::optional<Group> group = own_group(root_);
  if (!group) return kNone;
  const Mount& mount = group->v1 ? v1_ : v2_;
  if (!mount.found) return kNone;
  Path dir;
  dir.add(root_).add(mount.point);
  const std::size_t top = dir.view().size();
  // A group that the mount does not show: what it shows is our container's all the same, as far as anybody can tell.
  dir.add(below(mount.root, group->path.view()).value_or(""));
  int least = limit_of(dir, group->v1);
  while (dir.view().size() > top) {
    dir.cut(std::max(dir.view().rfind('/'), top));
    least = std::min(least, limit_of(dir, group->v1));
  }
  return least;
}

int procs_for(int cpus, int quota) noexcept {
  return std::clamp(std::min(cpus, std::max(quota, 2)), 1, kMaxProcs);
}

int available_procs(std::uint32_t tid) noexcept {
  static const CpuQuota quota;  // 16 KiB, and I3
  return procs_for(affinity_cpus(tid), quota.cpus());
}

}  // namespace heddle
