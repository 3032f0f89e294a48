// OwnMemory: this process's memory, as the kernel sees it: which ranges there are, and their words.
//
// For a search through everything a pointer could lie in, while all other threads hold still (freeze.h). It is read through
// /proc/self/mem and not in place: a guard page inside a mapping (a thread's stack on Linux 6.13) is then an error of that
// read, and the sanitizers do not mistake the reading for the program's.
//
// I1. Nothing here calls malloc or stdio: a frozen thread may hold their locks. Tables come from mmap, and grow by being
//     touched.
// I2. Pages that were never touched hold no pointers, and are not read: reading would make them.
// I3. What is looked at is memory that is writable and private. Memory shared with other processes is not: an address in it
//     means nothing to them. Nor is the analyser's own.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include <heddle/core/internal/sanitizer.h>

namespace heddle {

/// [lo, hi)
struct Span {
  std::uintptr_t lo = 0;
  std::uintptr_t hi = 0;
};

/// An array of T in address space of its own; only what was touched costs memory.
template <class T>
class Table {
 public:
  explicit Table(std::size_t most) noexcept : most_(most) {
    void* at = ::mmap(nullptr, most * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    data_ = at == MAP_FAILED ? nullptr : static_cast<T*>(at);
    if (data_ == nullptr) most_ = 0;
  }
  ~Table() {
    if (data_ != nullptr) ::munmap(data_, most_ * sizeof(T));
  }
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  /// False: it is full, or there is no memory.
  bool push(const T& value) noexcept {
    if (size_ == most_) return false;
    data_[size_++] = value;
    return true;
  }
  /// All of its zeros at once. False: there is no memory.
  bool fill() noexcept {
    size_ = most_;
    return data_ != nullptr;
  }
  T pop() noexcept { return data_[--size_]; }
  [[nodiscard]] T& operator[](std::size_t i) noexcept { return data_[i]; }
  [[nodiscard]] const T& operator[](std::size_t i) const noexcept { return data_[i]; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] T* begin() noexcept { return data_; }
  [[nodiscard]] T* end() noexcept { return data_ + size_; }
  [[nodiscard]] Span place() const noexcept {
    const auto lo = reinterpret_cast<std::uintptr_t>(data_);
    return {lo, lo + most_ * sizeof(T)};
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t most_;
};

class OwnMemory {
 public:
  OwnMemory() noexcept;
  ~OwnMemory();
  OwnMemory(const OwnMemory&) = delete;
  OwnMemory& operator=(const OwnMemory&) = delete;

  /// Reads the list of mappings. False if it cannot be had, or /proc/self/mem cannot be opened.
  [[nodiscard]] bool look() noexcept;

  /// Leaves `range` out of visit_all().
  bool leave_out(Span range) noexcept { return range.lo >= range.hi || left_out_.push(range); }

  /// The word at `address`; false if that is not in a mapping found by look(), or cannot be read.
  [[nodiscard]] bool word(std::uintptr_t address, std::uintptr_t& out) const noexcept;

  /// Where the stack of the process's first thread ends: the mapping that the kernel calls so.
  [[nodiscard]] Span first_stack() const noexcept { return first_stack_; }

  enum class Visited : std::uint8_t { kAll, kStopped, kTooMuch, kUnreadable };
  /// Gets the words of memory piece by piece; false: it has seen enough.
  struct Reader {
    bool (*read)(void* arg, std::span<const std::uintptr_t> words);
    void* arg;
  };
  /// Has `reader` read all that is there, but no more than `most` bytes.
  /// `kTooMuch`, `kUnreadable`: there is more.
  [[nodiscard]] Visited visit_all(std::size_t most, const Reader& reader) noexcept;

 private:
  [[nodiscard]] Visited visit(Span range, const Reader& reader) noexcept;
  [[nodiscard]] Visited visit_present(Span pages, const Reader& reader) noexcept;
  bool note_line(const char* line) noexcept;

  static constexpr std::size_t kWords = std::size_t{128} << 10;  // 1 MiB at a time
  static constexpr std::size_t kPages = 4096;

  Table<Span> maps_;
  Table<Span> left_out_;
  Table<std::uintptr_t> words_;
  Table<std::uint64_t> pages_;
  Span first_stack_;
  std::size_t left_ = 0;  // bytes that may still be read
  int mem_ = -1;
  int pagemap_ = -1;
};

}  // namespace heddle
