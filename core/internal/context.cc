#include <heddle/core/internal/context.h>

#include <cstdint>
#include <cstring>

namespace heddle {

void* make_context(std::byte* top, void (*fn)(void*), void* arg) noexcept {
#if defined(__x86_64__)
  // From the saved sp upward: r15 r14 r13 r12 rbx rbp and the return address, 56 bytes; then 16 more, so that rsp is on a
  // 16-byte boundary when heddle_entry calls (System V ABI 3.2.2).
  auto* frame = reinterpret_cast<void**>(top - 72);
  std::memset(frame, 0, 72);
  frame[2] = reinterpret_cast<void*>(fn);
  frame[3] = arg;
  frame[6] = reinterpret_cast<void*>(&heddle_entry);
  return frame;
#elif defined(__aarch64__)
  auto* frame = reinterpret_cast<void**>(top - 160);
  std::memset(frame, 0, 160);
  frame[0] = arg;
  frame[1] = reinterpret_cast<void*>(fn);
  frame[11] = reinterpret_cast<void*>(&heddle_entry);
  return frame;
#else
#error "heddle knows how to switch stacks on x86-64 and aarch64"
#endif
}

}  // namespace heddle
