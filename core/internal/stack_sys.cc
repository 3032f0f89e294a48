// The kernel behind the table of stack_sys.h.
#include <heddle/core/internal/stack_sys.h>

#include <sys/mman.h>

#include <cerrno>

namespace heddle {
namespace {

int value_or_errno(int value) noexcept { return value >= 0 ? value : -errno; }

}  // namespace

const StackSys kRealStackSys = {
    .mmap = [](std::size_t size) noexcept {
      return ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    },
    .mprotect = [](void* at, std::size_t size, int prot) noexcept { return value_or_errno(::mprotect(at, size, prot)); },
    .madvise = [](void* at, std::size_t size, int advice) noexcept {
      return value_or_errno(::madvise(at, size, advice));
    },
    .mincore = [](void* at, std::size_t size, unsigned char* pages) noexcept {
      return value_or_errno(::mincore(at, size, pages));
    },
};

namespace detail {
constinit const StackSys* current_stack_sys = &kRealStackSys;
}

}  // namespace heddle
