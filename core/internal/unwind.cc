#include <heddle/core/internal/unwind.h>

#include <cstring>

#include <heddle/core/internal/context.h>
#include <heddle/core/internal/stack.h>
#include <heddle/core/internal/symbolize.h>

namespace heddle {
namespace {

// Volatile, plain and uninstrumented: its M may write it at this moment, and then what we copy is checked and dropped.
[[gnu::noinline]] HEDDLE_UNINSTRUMENTED std::uintptr_t saved_sp(const G& g) noexcept {
  return reinterpret_cast<std::uintptr_t>(*const_cast<void* const volatile*>(&g.sp));
}

// The frame that heddle_switch left at sp (context.h).
#if defined(__x86_64__)
constexpr std::size_t kSavedFrame = 56;
bool load_saved_frame(const StackImage& image, std::uintptr_t sp, Registers& r) noexcept {
  constexpr int kOrder[] = {15, 14, 13, 12, 3, 6, Registers::kPc};  // r15 r14 r13 r12 rbx rbp, return address
  std::uintptr_t at = sp;
  for (const int reg : kOrder) {
    if (!image.word(at, r.at[reg])) return false;
    at += 8;
  }
  r.at[Registers::kSp] = sp + kSavedFrame;
  return true;
}
#elif defined(__aarch64__)
constexpr std::size_t kSavedFrame = 160;
bool load_saved_frame(const StackImage& image, std::uintptr_t sp, Registers& r) noexcept {
  // x19..x28, x29, x30 from sp up.
  for (int i = 0; i < 12; ++i) {
    if (!image.word(sp + static_cast<std::uintptr_t>(i) * 8, r.at[19 + i])) return false;
  }
  r.at[Registers::kPc] = r.at[30];
  r.at[Registers::kSp] = sp + kSavedFrame;
  return true;
}
#endif

bool copy_used(const G& g, std::uintptr_t sp, StackImage& out) {
  const auto lo = reinterpret_cast<std::uintptr_t>(g.stack_lo);
  const auto hi = reinterpret_cast<std::uintptr_t>(g.stack_hi);
  if (sp >= hi || lo - slot_bytes(g.stack_class) > sp) return false;
  // In the guard: the stack overflowed; what is above still tells how.
  out.lo = sp < lo ? lo : StackImage::low_end(sp, g);
  out.bytes.resize(hi - out.lo);
  copy_stack(out.bytes.data(), reinterpret_cast<const std::byte*>(out.lo), out.bytes.size());
  return true;
}

// The caller by the chain of frame pointers: [fp] is the caller's fp, [fp + 8] the return address (both ABIs).
bool step_by_frame_pointer(const StackImage& image, Registers& r) noexcept {
  const std::uintptr_t fp = r.fp();
  std::uintptr_t caller_fp = 0;
  std::uintptr_t pc = 0;
  if (fp < r.sp() || fp % 8 != 0 || !image.word(fp, caller_fp) || !image.word(fp + 8, pc)) return false;
  r.at[Registers::kFp] = caller_fp;
  r.at[Registers::kSp] = fp + 16;
  r.at[Registers::kPc] = pc;
  return pc != 0;
}

}  // namespace

HEDDLE_UNINSTRUMENTED void read_registers(const ucontext_t& context, Registers& out) noexcept {
  // Volatile: a struct copy might become a call of memcpy, which the sanitizers intercept.
  volatile std::uintptr_t* at = out.at;
#if defined(__x86_64__)
  // By DWARF number: rax rdx rcx rbx rsi rdi rbp rsp r8..r15, return address.
  constexpr int kOrder[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
                            REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
  for (int i = 0; i < Registers::kCount; ++i) at[i] = static_cast<std::uintptr_t>(context.uc_mcontext.gregs[kOrder[i]]);
#elif defined(__aarch64__)
  for (int i = 0; i < 31; ++i) at[i] = context.uc_mcontext.regs[i];
  at[Registers::kSp] = context.uc_mcontext.sp;
  at[Registers::kPc] = context.uc_mcontext.pc;
#endif
}

HEDDLE_UNINSTRUMENTED std::uintptr_t interrupted_pc(const ucontext_t& context) noexcept {
#if defined(__x86_64__)
  return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return context.uc_mcontext.pc;
#endif
}

[[gnu::noinline]] HEDDLE_UNINSTRUMENTED void copy_stack(std::byte* to, const std::byte* from, std::size_t n) noexcept {
  // Word by word and volatile: memcpy is intercepted by the sanitizers, which know that parts of a stack are out of bounds.
  const auto* in = reinterpret_cast<const volatile std::uintptr_t*>(from);
  auto* out = reinterpret_cast<volatile std::uintptr_t*>(to);
  for (std::size_t i = 0; i < n / sizeof(std::uintptr_t); ++i) out[i] = in[i];
}

bool StackImage::word(std::uintptr_t address, std::uintptr_t& out) const noexcept {
  if (address < lo || address - lo >= bytes.size() || bytes.size() - (address - lo) < sizeof out) return false;
  std::memcpy(&out, bytes.data() + (address - lo), sizeof out);
  return true;
}

bool copy_parked(const G& g, StackImage& out) {
  const std::uintptr_t sp = saved_sp(g);
  out.exact_pc = false;
  if (sp % 8 != 0 || sp < reinterpret_cast<std::uintptr_t>(g.stack_lo)) return false;
  return copy_used(g, sp, out) && load_saved_frame(out, sp, out.registers) && saved_sp(g) == sp;
}

bool parked_extent(const G& g, std::uintptr_t& sp, std::uintptr_t& lo) noexcept {
  sp = saved_sp(g);
  if (sp % 8 != 0 || sp < reinterpret_cast<std::uintptr_t>(g.stack_lo) ||
      sp >= reinterpret_cast<std::uintptr_t>(g.stack_hi)) {
    return false;
  }
  lo = StackImage::low_end(sp, g);
  return true;
}

bool load_parked(StackImage& image, std::uintptr_t sp) noexcept { return load_saved_frame(image, sp, image.registers); }

bool copy_from(const G& g, const Registers& registers, StackImage& out) {
  out.registers = registers;
  out.exact_pc = true;
  return copy_used(g, registers.sp(), out);
}

std::vector<Pc> unwind(const StackImage& image, DebugInfo* info, std::size_t most) {
  std::vector<Pc> pcs;
  Registers r = image.registers;
  bool exact = image.exact_pc;
  // A goroutine that has not run yet stands at its very first instruction.
  if (r.pc() == reinterpret_cast<std::uintptr_t>(&heddle_entry)) return pcs;
  while (r.pc() != 0 && pcs.size() < most) {
    pcs.push_back({r.pc(), exact});
    const std::uintptr_t sp = r.sp();
    bool signal_frame = false;
    const Step step = info == nullptr ? Step::kUnknown : info->step(image, exact, r, signal_frame);
    if (step == Step::kBottom) break;
    if (step == Step::kUnknown && !step_by_frame_pointer(image, r)) break;
    if (r.sp() <= sp) break;  // keeps I2
    exact = signal_frame;
  }
  return pcs;
}

}  // namespace heddle
