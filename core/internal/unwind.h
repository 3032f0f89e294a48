// From registers and a copy of a stack to return addresses.
//
// A stack is never read in place: StackImage holds a copy of the part in use, made where that is safe (of a parked goroutine by
// whoever makes the report, of a running one by its own thread in a signal handler), and all that follows works on the copy.
//
// I1. Reading is bounded by the image, and an image by its G's slot [stack_lo, stack_hi), which stays mapped for ever
//     (stack.h I2). So no unwinding, of however torn a stack, touches foreign memory.
// I2. Every step must raise the stack pointer, and there is a most number of frames. So unwinding ends.
// I3. A goroutine that runs again while its stack is copied may yield a short or odd list, never more harm than that; the
//     copy is thrown away if its G's state, id or sp changed meanwhile.
//
// Each step asks the call frame information first (symbolize.h): it serves code built without frame pointers, and tells
// the registers that the caller needs. Where there is none, the chain of frame pointers goes on.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include <heddle/core/internal/g.h>
#include <heddle/core/internal/sanitizer.h>

namespace heddle {

class DebugInfo;

/// The general registers by their DWARF numbers. x86-64: 16 is the return address column, here the program counter.
/// Source: System V ABI AMD64, figure 3.36; DWARF for the Arm 64-bit architecture, 4.1 (pc is ours: it has no number).
struct Registers {
#if defined(__x86_64__)
  static constexpr int kCount = 17;
  static constexpr int kFp = 6;
  static constexpr int kSp = 7;
  static constexpr int kReturn = 16;
  static constexpr int kPc = 16;
#elif defined(__aarch64__)
  static constexpr int kCount = 33;
  static constexpr int kFp = 29;
  static constexpr int kSp = 31;
  static constexpr int kReturn = 30;
  static constexpr int kPc = 32;
#endif
  std::uintptr_t at[kCount] = {};

  [[nodiscard]] HEDDLE_UNINSTRUMENTED std::uintptr_t pc() const noexcept { return at[kPc]; }
  [[nodiscard]] HEDDLE_UNINSTRUMENTED std::uintptr_t sp() const noexcept { return at[kSp]; }
  [[nodiscard]] std::uintptr_t fp() const noexcept { return at[kFp]; }
};

/// Where a signal interrupted a thread, or getcontext() was called. Async-signal-safe.
void read_registers(const ucontext_t& context, Registers& out) noexcept;

/// Where a signal interrupted a thread: the pc alone. Async-signal-safe.
[[nodiscard]] std::uintptr_t interrupted_pc(const ucontext_t& context) noexcept;
/// Where its caller stands: the registers that an unwinder needs. Inlined, as they must be the caller's.
[[gnu::always_inline]] inline void read_registers_here(Registers& out) noexcept {
#if defined(__x86_64__)
  asm volatile(
      "movq %%rbx, 24(%0)\n\tmovq %%rbp, 48(%0)\n\tmovq %%rsp, 56(%0)\n\tmovq %%r12, 96(%0)\n\t"
      "movq %%r13, 104(%0)\n\tmovq %%r14, 112(%0)\n\tmovq %%r15, 120(%0)\n"
      "1:\tleaq 1b(%%rip), %%rax\n\tmovq %%rax, 128(%0)"
      :
      : "r"(out.at)
      : "rax", "memory");
#else
  ucontext_t here;
  ::getcontext(&here);
  read_registers(here, out);
#endif
}

/// A copy of the newest part of a stack, and the registers that belong to it.
struct StackImage {
  Registers registers;
  bool exact_pc = false;  // the pc is that of an instruction, not a return address
  std::uintptr_t lo = 0;  // where bytes[0] lay
  std::vector<std::byte> bytes;

  /// The word at `address`; false outside the image.
  [[nodiscard]] bool word(std::uintptr_t address, std::uintptr_t& out) const noexcept;

  /// Where the stack in use begins: below sp may lie a red zone (128 bytes), but nothing below the slot.
  [[nodiscard]] HEDDLE_UNINSTRUMENTED static std::uintptr_t low_end(std::uintptr_t sp, const G& g) noexcept {
    const auto lo = reinterpret_cast<std::uintptr_t>(g.stack_lo);
    return sp - lo < 128 ? lo : (sp - 128) & ~std::uintptr_t{7};
  }
};

/// Copies words of a live stack; not seen by the sanitizers. Async-signal-safe.
void copy_stack(std::byte* to, const std::byte* from, std::size_t n) noexcept;

/// Copies the stack of `g`, which was seen parked or runnable. False if its saved sp makes no sense: it runs by now.
[[nodiscard]] bool copy_parked(const G& g, StackImage& out);

/// Where `g`, which is parked or runnable, stands, and where its stack in use begins. False if that makes no sense: it runs.
[[nodiscard]] bool parked_extent(const G& g, std::uintptr_t& sp, std::uintptr_t& lo) noexcept;

/// The registers of a goroutine that was parked at `sp`, from the image of its stack.
[[nodiscard]] bool load_parked(StackImage& image, std::uintptr_t sp) noexcept;

/// Copies the part of `g`'s stack that is in use at `registers`, which must hold still.
[[nodiscard]] bool copy_from(const G& g, const Registers& registers, StackImage& out);

/// One entry of a traceback. `exact`: the pc is of the instruction itself; else the call lies just before it.
struct Pc {
  std::uintptr_t address = 0;
  bool exact = false;
};

/// Program counters, innermost first, at most `most`. `info` may be null: frame pointers alone.
[[nodiscard]] std::vector<Pc> unwind(const StackImage& image, DebugInfo* info, std::size_t most = 256);

}  // namespace heddle
