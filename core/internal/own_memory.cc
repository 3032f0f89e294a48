#include <heddle/core/internal/own_memory.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <heddle/core/internal/stack.h>

namespace heddle {
namespace {

constexpr std::size_t kMostMaps = std::size_t{1} << 17;  // above any usual vm.max_map_count
constexpr std::size_t kMostLeftOut = std::size_t{1} << 21;
// The sanitizers' shadow: terabytes that hold no pointers. Nothing of a program's is so large.
constexpr std::size_t kShadow = std::size_t{16} << 30;

constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;  // Source: Linux Documentation/admin-guide/mm/pagemap.rst
constexpr std::uint64_t kSwapped = std::uint64_t{1} << 62;

}  // namespace

OwnMemory::OwnMemory() noexcept : maps_(kMostMaps), left_out_(kMostLeftOut), words_(kWords), pages_(kPages) {}

OwnMemory::~OwnMemory() {
  if (mem_ >= 0) ::close(mem_);
  if (pagemap_ >= 0) ::close(pagemap_);
}

// "55d0c0a00000-55d0c0a21000 rw-p 00000000 00:00 0                          [heap]". Source: proc_pid_maps(5).
bool OwnMemory::note_line(const char* line) noexcept {
  char* end = nullptr;
  Span map;
  map.lo = std::strtoul(line, &end, 16);
  if (*end != '-') return true;
  map.hi = std::strtoul(end + 1, &end, 16);
  if (std::strstr(end, "[stack]") != nullptr) first_stack_ = map;
  const bool writable_private = std::strncmp(end, " rw", 3) == 0 && end[4] == 'p';
  if (!writable_private || (kSanitized && map.hi - map.lo > kShadow)) return true;
  return maps_.push(map);
}

bool OwnMemory::look() noexcept {
  if (!words_.fill() || !pages_.fill()) return false;
  mem_ = ::open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  if (mem_ < 0) return false;
  pagemap_ = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);  // without it all pages are read
  const int maps = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (maps < 0) return false;
  char text[8192];
  std::size_t have = 0;
  bool ok = true;
  for (;;) {
    const auto n = ::read(maps, text + have, sizeof text - 1 - have);
    if (n <= 0) break;
    have += static_cast<std::size_t>(n);
    text[have] = '\0';
    char* line = text;
    while (char* end = std::strchr(line, '\n')) {
      *end = '\0';
      ok = ok && note_line(line);
      line = end + 1;
    }
    have -= static_cast<std::size_t>(line - text);
    std::memmove(text, line, have);
    if (have == sizeof text - 1) break;  // a line longer than any path
  }
  ::close(maps);
  ok = ok && leave_out(maps_.place()) && leave_out(left_out_.place()) && leave_out(words_.place()) &&
       leave_out(pages_.place());
  return ok;
}

bool OwnMemory::word(std::uintptr_t address, std::uintptr_t& out) const noexcept {
  const Table<Span>& maps = maps_;
  const Span* first = &maps[0];
  const Span* last = first + maps.size();
  const Span* above = std::upper_bound(first, last, address, [](std::uintptr_t a, const Span& m) { return a < m.lo; });
  if (above == first || address + sizeof out > above[-1].hi) return false;
  return ::pread(mem_, &out, sizeof out, static_cast<off_t>(address)) == static_cast<ssize_t>(sizeof out);
}

OwnMemory::Visited OwnMemory::visit_all(std::size_t most, const Reader& reader) noexcept {
  left_ = most;
  std::sort(left_out_.begin(), left_out_.end(), [](const Span& a, const Span& b) { return a.lo < b.lo; });
  std::size_t out = 0;
  for (const Span& map : maps_) {
    std::uintptr_t lo = map.lo;
    // A range left out may begin in an earlier mapping; and one may lie within another.
    for (; out < left_out_.size() && left_out_[out].lo < map.hi; ++out) {
      const Span& hole = left_out_[out];
      if (hole.lo > lo) {
        if (const Visited v = visit({lo, hole.lo}, reader); v != Visited::kAll) return v;
      }
      lo = std::max(lo, hole.hi);
      if (hole.hi > map.hi) break;  // it goes on in the next mapping
    }
    if (lo < map.hi) {
      if (const Visited v = visit({lo, map.hi}, reader); v != Visited::kAll) return v;
    }
  }
  return Visited::kAll;
}

// The pages of `range` that are there.
OwnMemory::Visited OwnMemory::visit(Span range, const Reader& reader) noexcept {
  const std::size_t page = page_bytes();
  range.lo = (range.lo + 7) & ~std::uintptr_t{7};
  for (std::uintptr_t at = range.lo; at < range.hi;) {
    const std::uintptr_t first = at / page;
    const std::size_t want = std::min(kPages, (range.hi + page - 1) / page - first);
    std::size_t have = want;
    if (pagemap_ >= 0) {
      const auto n = ::pread(pagemap_, &pages_[0], want * 8, static_cast<off_t>(first * 8));
      if (n < 8) return Visited::kUnreadable;
      have = static_cast<std::size_t>(n) / 8;
    } else {
      std::fill_n(pages_.begin(), want, kPresent);
    }
    for (std::size_t i = 0; i < have;) {
      std::size_t end = i;
      while (end < have && (pages_[end] & (kPresent | kSwapped)) != 0) ++end;
      if (end > i) {
        const Span run{std::max(at, (first + i) * page), std::min(range.hi, (first + end) * page)};
        if (const Visited v = visit_present(run, reader); v != Visited::kAll) return v;
      }
      i = end + 1;
    }
    at = (first + have) * page;
  }
  return Visited::kAll;
}

OwnMemory::Visited OwnMemory::visit_present(Span run, const Reader& reader) noexcept {
  const std::size_t page = page_bytes();
  while (run.lo < run.hi) {
    const std::size_t want = std::min(run.hi - run.lo, kWords * 8);
    if (want > left_) return Visited::kTooMuch;
    const auto n = ::pread(mem_, &words_[0], want, static_cast<off_t>(run.lo));
    if (n <= 0) {
      run.lo = (run.lo / page + 1) * page;  // a guard page: nothing is there
      continue;
    }
    left_ -= static_cast<std::size_t>(n);
    if (!reader.read(reader.arg, {words_.begin(), static_cast<std::size_t>(n) / 8})) return Visited::kStopped;
    run.lo += static_cast<std::size_t>(n);
  }
  return Visited::kAll;
}

}  // namespace heddle
