// StackSys: the system calls of the stack arena behind one table, so that a test can play a kernel without markers, a
// process at its map-count limit, or count the calls.
//
// Each entry returns the call's value, or -errno (mmap: MAP_FAILED). Only tests change the table, while no scheduler runs.
#pragma once

#include <cstddef>

namespace heddle {

struct StackSys {
  void* (*mmap)(std::size_t size) noexcept;  // address space: PROT_NONE, not accounted
  int (*mprotect)(void* at, std::size_t size, int prot) noexcept;
  int (*madvise)(void* at, std::size_t size, int advice) noexcept;
  int (*mincore)(void* at, std::size_t size, unsigned char* pages) noexcept;
};

/// The kernel's own calls.
extern const StackSys kRealStackSys;

namespace detail {
extern const StackSys* current_stack_sys;
}

[[nodiscard]] inline const StackSys& stack_sys() noexcept { return *detail::current_stack_sys; }

/// Puts `table` in the place of the kernel's calls for a scope. For tests, while no scheduler runs.
class ScopedStackSys {
 public:
  explicit ScopedStackSys(const StackSys& table) noexcept : before_(detail::current_stack_sys) {
    detail::current_stack_sys = &table;
  }
  ~ScopedStackSys() { detail::current_stack_sys = before_; }
  ScopedStackSys(const ScopedStackSys&) = delete;
  ScopedStackSys& operator=(const ScopedStackSys&) = delete;

 private:
  const StackSys* before_;
};

}  // namespace heddle
