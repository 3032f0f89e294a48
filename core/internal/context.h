// The switch between stacks, and the first frame of a new one.
//
// heddle_switch saves the callee-saved integer registers and the return address on the current stack, stores the stack
// pointer, and continues on the other stack. Everything else is the caller's to save by the ABI, so the compiler has done it.
// Not saved: MXCSR and the x87 control word (FPCR on arm64). Both are "callee-saved" control state by the ABI, and saving
// them costs as much as the rest of the switch; so the rounding mode and the exception masks are the thread's, and a
// goroutine that changes them must restore them before it parks.
//
// Saved frame, growing down (x86-64):        (aarch64)
//     return address          <- top            x29 x30
//     rbp rbx r12 r13 r14 r15 <- saved sp       x19..x28, d8..d15   <- saved sp
#pragma once

#include <cstddef>

extern "C" {
/// Saves this context through `save`, continues the one at `to`; `arg` is what that one's heddle_switch returns.
void* heddle_switch(void** save, void* to, void* arg) noexcept;
/// Where a new stack starts; calls the function in its frame with the argument in its frame. Bottom of every traceback.
void heddle_entry() noexcept;
}

namespace heddle {

/// Builds the first frame below `top` (16-byte aligned) so that switching to the result calls fn(arg), which never returns.
void* make_context(std::byte* top, void (*fn)(void*), void* arg) noexcept;

/// heddle_switch, without a call. The processor keeps a stack of return addresses: a call would leave an entry there that no
/// return takes off, and every return until the next switch would be mispredicted (some 4 ns each). So the return address
/// is pushed by hand. Files that use it are compiled with -mno-red-zone.
[[gnu::always_inline]] inline void switch_stack(void** save_sp, void* to_sp) noexcept {
#if defined(__x86_64__)
  void* arg = nullptr;
  asm volatile(
      "leaq 1f(%%rip), %%rcx\n\t"
      "pushq %%rcx\n\t"
      "jmp heddle_switch\n"
      "1:\tendbr64"
      : "+D"(save_sp), "+S"(to_sp), "+d"(arg)
      :
      : "rax", "rcx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
#else
  heddle_switch(save_sp, to_sp, nullptr);
#endif
}

}  // namespace heddle
