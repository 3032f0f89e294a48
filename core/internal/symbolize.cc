#include <heddle/core/internal/symbolize.h>

#include <cxxabi.h>
#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <unordered_map>

#if HEDDLE_DWARF
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <unistd.h>
#endif

namespace heddle {
namespace {

std::string demangle(const char* name) {
  int status = 0;
  char* plain = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string text = status == 0 && plain != nullptr ? plain : name;
  std::free(plain);
  if (const std::size_t abi = text.find("[abi:cxx11]"); abi != std::string::npos) text.erase(abi, 11);
  // " [clone .cold]" and the like: parts of one function.
  if (const std::size_t clone = text.find(" [clone "); clone != std::string::npos) text.resize(clone);
  return text;
}

// Changes with every file that is mapped or unmapped.
std::uint64_t files_version() {
  std::uint64_t version = 0;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        *static_cast<std::uint64_t*>(out) = (std::uint64_t{info->dlpi_adds} << 32) + info->dlpi_subs;
        return 1;
      },
      &version);
  return version;
}

// The address to look up: a return address belongs to the call before it, which may be in another line or function.
std::uintptr_t place(Pc pc) noexcept { return pc.exact ? pc.address : pc.address - 1; }

// The dynamic linker's knowledge: exported names, else file and offset.
Frame describe_by_linker(Pc pc) {
  Frame f;
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(place(pc)), &info) == 0) {
    f.offset = pc.address;
    return f;
  }
  if (info.dli_fname != nullptr) f.file = info.dli_fname;
  if (info.dli_sname != nullptr && info.dli_saddr != nullptr) {
    f.function = demangle(info.dli_sname);
    f.offset = pc.address - reinterpret_cast<std::uintptr_t>(info.dli_saddr);
  } else {
    f.offset = pc.address - reinterpret_cast<std::uintptr_t>(info.dli_fbase);
  }
  return f;
}

}  // namespace

#if HEDDLE_DWARF

namespace {

// A program whose file was replaced or removed while it runs is found by /proc/self/exe; the rest is libdwfl's business.
int find_elf(Dwfl_Module* mod, void** user, const char* name, Dwarf_Addr base, char** file_name, Elf** elf) {
  char exe[4096];
  if (const auto n = ::readlink("/proc/self/exe", exe, sizeof exe - 1); n > 0) {
    exe[n] = '\0';
    if (std::strcmp(exe, name) == 0) return ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  }
  return dwfl_linux_proc_find_elf(mod, user, name, base, file_name, elf);
}

// dwfl_standard_find_debuginfo without its last resort, debuginfod (keeps I3): separate files by build-id only.
int find_debug_info(Dwfl_Module* mod, void** user, const char* name, Dwarf_Addr base, const char* file,
                    const char* link_file, GElf_Word link_crc, char** found) {
  return dwfl_build_id_find_debuginfo(mod, user, name, base, file, link_file, link_crc, found);
}

char* default_path = nullptr;  // libdwfl's own: /usr/lib/debug

const Dwfl_Callbacks kCallbacks{find_elf, find_debug_info, dwfl_offline_section_address, &default_path};

// How one register of the caller, or the CFA, is found. Most code needs only the first four kinds.
struct Rule {
  enum Kind : std::uint8_t { kSame, kUndefined, kAtOffset, kRegister, kExpression };
  Kind kind = kSame;
  bool is_value = false;    // kExpression: its result is the value, not where it is stored
  int reg = 0;              // kRegister (the CFA): base register
  std::int64_t offset = 0;  // kAtOffset: from the CFA; kRegister: to add
  std::vector<Dwarf_Op> ops;
};

// All rules for one place in the code.
struct Rules {
  bool known = false;
  bool signal_frame = false;
  Rule cfa;
  Rule reg[Registers::kCount];
};

Rule rule_of(const Dwarf_Op* ops, std::size_t n, bool stored) {
  Rule r;
  const auto number = [](const Dwarf_Op& op) { return static_cast<std::int64_t>(op.number); };
  if (n == 1 && ops[0].atom >= DW_OP_breg0 && ops[0].atom <= DW_OP_breg31 && !stored) {
    r.kind = Rule::kRegister;
    r.reg = ops[0].atom - DW_OP_breg0;
    r.offset = number(ops[0]);
  } else if (n == 1 && ops[0].atom == DW_OP_bregx && !stored) {
    r.kind = Rule::kRegister;
    r.reg = static_cast<int>(ops[0].number);
    r.offset = static_cast<std::int64_t>(ops[0].number2);
  } else if (stored && n == 1 && ops[0].atom == DW_OP_call_frame_cfa) {
    r.kind = Rule::kAtOffset;
  } else if (stored && n == 2 && ops[0].atom == DW_OP_call_frame_cfa && ops[1].atom == DW_OP_plus_uconst) {
    r.kind = Rule::kAtOffset;
    r.offset = number(ops[1]);
  } else {
    r.kind = Rule::kExpression;
    r.ops.assign(ops, ops + n);
    if (n > 0 && ops[n - 1].atom == DW_OP_stack_value) {
      r.ops.pop_back();
      r.is_value = true;
    }
  }
  return r;
}

// The expressions that compilers write into .eh_frame: PLT stubs and signal frames. False: an operation unknown here.
bool evaluate(const std::vector<Dwarf_Op>& ops, const StackImage& image, const Registers& r, std::uintptr_t cfa,
              std::uintptr_t& out) {
  std::vector<std::uintptr_t> stack;
  const auto pop = [&stack] {
    if (stack.empty()) return std::uintptr_t{0};
    const std::uintptr_t v = stack.back();
    stack.pop_back();
    return v;
  };
  for (const Dwarf_Op& op : ops) {
    if (op.atom >= DW_OP_lit0 && op.atom <= DW_OP_lit31) {
      stack.push_back(static_cast<std::uintptr_t>(op.atom) - DW_OP_lit0);
    } else if (op.atom >= DW_OP_breg0 && op.atom <= DW_OP_breg31) {
      const int reg = op.atom - DW_OP_breg0;
      if (reg >= Registers::kCount) return false;
      stack.push_back(r.at[reg] + op.number);
    } else {
      switch (op.atom) {
        case DW_OP_call_frame_cfa: stack.push_back(cfa); break;
        case DW_OP_const1u:
        case DW_OP_const1s:
        case DW_OP_const2u:
        case DW_OP_const2s:
        case DW_OP_const4u:
        case DW_OP_const4s:
        case DW_OP_const8u:
        case DW_OP_const8s:
        case DW_OP_constu:
        case DW_OP_consts: stack.push_back(op.number); break;
        case DW_OP_plus_uconst: stack.push_back(pop() + op.number); break;
        case DW_OP_plus: {
          const std::uintptr_t b = pop();
          stack.push_back(pop() + b);
          break;
        }
        case DW_OP_minus: {
          const std::uintptr_t b = pop();
          stack.push_back(pop() - b);
          break;
        }
        case DW_OP_and: {
          const std::uintptr_t b = pop();
          stack.push_back(pop() & b);
          break;
        }
        case DW_OP_shl: {
          const std::uintptr_t b = pop();
          stack.push_back(b < 64 ? pop() << b : 0);
          break;
        }
        case DW_OP_ge: {
          const auto b = static_cast<std::intptr_t>(pop());
          stack.push_back(static_cast<std::intptr_t>(pop()) >= b ? 1 : 0);
          break;
        }
        case DW_OP_deref: {
          std::uintptr_t v = 0;
          if (!image.word(pop(), v)) return false;
          stack.push_back(v);
          break;
        }
        default: return false;
      }
    }
  }
  if (stack.empty()) return false;
  out = stack.back();
  return true;
}

// A DIE's name: mangled, if the compiler wrote that down, else plain.
std::string name_of(Dwarf_Die* die) {
  Dwarf_Attribute attr;
  for (const unsigned int at : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
    if (const char* s = dwarf_formstring(dwarf_attr_integrate(die, at, &attr)); s != nullptr) return demangle(s);
  }
  const char* name = dwarf_diename(die);
  return name == nullptr ? "" : name;
}

int number_of(Dwarf_Die* die, unsigned int at) {
  Dwarf_Attribute attr;
  Dwarf_Word value = 0;
  if (dwarf_formudata(dwarf_attr(die, at, &attr), &value) != 0) return 0;
  return static_cast<int>(value);
}

}  // namespace

struct DebugInfo::Impl {
  Dwfl* dwfl = dwfl_begin(&kCallbacks);
  std::uint64_t version = 0;  // no process has that: its own file is one
  std::unordered_map<std::uintptr_t, Rules> rules;  // by place()
  std::unordered_map<std::uintptr_t, std::vector<Frame>> frames;

  ~Impl() { dwfl_end(dwfl); }

  Rules find_rules(std::uintptr_t at) {
    Rules out;
    Dwfl_Module* mod = dwfl == nullptr ? nullptr : dwfl_addrmodule(dwfl, at);
    if (mod == nullptr) return out;
    Dwarf_Frame* frame = nullptr;
    Dwarf_Addr bias = 0;
    if (Dwarf_CFI* cfi = dwfl_module_eh_cfi(mod, &bias); cfi == nullptr || dwarf_cfi_addrframe(cfi, at - bias, &frame) != 0) {
      frame = nullptr;
      cfi = dwfl_module_dwarf_cfi(mod, &bias);
      if (cfi == nullptr || dwarf_cfi_addrframe(cfi, at - bias, &frame) != 0) return out;
    }
    const std::unique_ptr<Dwarf_Frame, void (*)(void*)> owner(frame, &std::free);
    if (dwarf_frame_info(frame, nullptr, nullptr, &out.signal_frame) < 0) return out;
    Dwarf_Op* ops = nullptr;
    std::size_t n = 0;
    if (dwarf_frame_cfa(frame, &ops, &n) != 0 || n == 0) return out;
    out.cfa = rule_of(ops, n, false);
    for (int i = 0; i < Registers::kCount; ++i) {
      Dwarf_Op mem[3];
      if (dwarf_frame_register(frame, i, mem, &ops, &n) != 0) return out;
      if (n != 0) {
        out.reg[i] = rule_of(ops, n, true);
      } else {
        out.reg[i].kind = ops == nullptr ? Rule::kSame : Rule::kUndefined;
      }
    }
    out.known = true;
    return out;
  }

  // Functions and lines from DWARF, names from the symbol table.
  std::vector<Frame> look_up(Pc pc) {
    const std::uintptr_t at = place(pc);
    Dwfl_Module* mod = dwfl == nullptr ? nullptr : dwfl_addrmodule(dwfl, at);
    if (mod == nullptr) return {describe_by_linker(pc)};
    Frame outer;
    GElf_Off offset = 0;
    GElf_Sym sym{};
    if (const char* name = dwfl_module_addrinfo(mod, at, &offset, &sym, nullptr, nullptr, nullptr); name != nullptr) {
      outer.function = demangle(name);
      outer.offset = offset + (pc.address - at);
    }
    if (Dwfl_Line* line = dwfl_module_getsrc(mod, at); line != nullptr) {
      if (const char* file = dwfl_lineinfo(line, nullptr, &outer.line, nullptr, nullptr, nullptr); file != nullptr) {
        outer.file = file;
      }
    }
    if (outer.file.empty()) {
      Frame f = describe_by_linker(pc);
      if (!outer.function.empty()) {  // a symbol table knows more names than the dynamic linker
        f.function = outer.function;
        f.offset = outer.offset;
      }
      return {f};
    }
    std::vector<Frame> calls = inlined_calls(mod, at, outer);
    calls.push_back(outer);
    return calls;
  }

  // The calls that were inlined at `at`. `outer` comes with the position of the innermost and leaves with its own.
  static std::vector<Frame> inlined_calls(Dwfl_Module* mod, std::uintptr_t at, Frame& outer) {
    std::vector<Frame> calls;
    Dwarf_Addr bias = 0;
    Dwarf_Die* unit = dwfl_module_addrdie(mod, at, &bias);
    if (unit == nullptr) return calls;
    Dwarf_Die* scopes = nullptr;
    const int n = dwarf_getscopes(unit, at - bias, &scopes);
    const std::unique_ptr<Dwarf_Die, void (*)(void*)> owner(scopes, &std::free);
    int innermost = 0;
    while (innermost < n && dwarf_tag(&scopes[innermost]) != DW_TAG_subprogram &&
           dwarf_tag(&scopes[innermost]) != DW_TAG_inlined_subroutine) {
      ++innermost;
    }
    if (innermost >= n) return calls;
    // Where the inlined code stands, not where it was written.
    Dwarf_Die* nest = nullptr;
    const int depth = dwarf_getscopes_die(&scopes[innermost], &nest);
    const std::unique_ptr<Dwarf_Die, void (*)(void*)> nest_owner(nest, &std::free);
    Dwarf_Files* files = nullptr;
    if (dwarf_getsrcfiles(unit, &files, nullptr) != 0) files = nullptr;
    for (int i = 0; i < depth; ++i) {
      const int tag = dwarf_tag(&nest[i]);
      if (tag == DW_TAG_subprogram) {
        if (outer.function.empty()) outer.function = name_of(&nest[i]);
        break;
      }
      if (tag != DW_TAG_inlined_subroutine) continue;
      Frame f;
      f.function = name_of(&nest[i]);
      f.file = outer.file;
      f.line = outer.line;
      f.inlined = true;
      calls.push_back(f);
      const char* file = files == nullptr
                             ? nullptr
                             : dwarf_filesrc(files, static_cast<std::size_t>(number_of(&nest[i], DW_AT_call_file)), nullptr,
                                             nullptr);
      if (file != nullptr) outer.file = file;
      outer.line = number_of(&nest[i], DW_AT_call_line);
    }
    return calls;
  }
};

void DebugInfo::refresh() {
  const std::uint64_t version = files_version();
  if (version == impl_->version) return;
  impl_->version = version;
  impl_->frames.clear();
  impl_->rules.clear();
  if (impl_->dwfl == nullptr) return;
  // Files that were there before keep what was read of them.
  dwfl_report_begin(impl_->dwfl);
  dwfl_linux_proc_report(impl_->dwfl, ::getpid());
  dwfl_report_end(impl_->dwfl, nullptr, nullptr);
}

Step DebugInfo::step(const StackImage& image, bool exact, Registers& r, bool& signal_frame) {
  const std::uintptr_t at = place({r.pc(), exact});
  auto it = impl_->rules.find(at);
  if (it == impl_->rules.end()) it = impl_->rules.emplace(at, impl_->find_rules(at)).first;
  const Rules& rules = it->second;
  if (!rules.known) return Step::kUnknown;
  std::uintptr_t cfa = 0;
  if (rules.cfa.kind == Rule::kRegister) {
    if (rules.cfa.reg >= Registers::kCount) return Step::kUnknown;
    cfa = r.at[rules.cfa.reg] + static_cast<std::uintptr_t>(rules.cfa.offset);
  } else if (!evaluate(rules.cfa.ops, image, r, 0, cfa)) {
    return Step::kUnknown;
  }
  Registers caller = r;
  caller.at[Registers::kSp] = cfa;
  for (int i = 0; i < Registers::kCount; ++i) {
    const Rule& rule = rules.reg[i];
    std::uintptr_t v = 0;
    switch (rule.kind) {
      case Rule::kSame: break;
      case Rule::kUndefined:
        if (i == Registers::kReturn) return Step::kBottom;
        break;
      case Rule::kAtOffset:
        if (image.word(cfa + static_cast<std::uintptr_t>(rule.offset), v)) {
          caller.at[i] = v;
        } else if (i == Registers::kReturn) {
          return Step::kUnknown;
        }
        break;
      case Rule::kExpression:
        if (!evaluate(rule.ops, image, r, cfa, v)) return Step::kUnknown;
        if (!rule.is_value && !image.word(v, v)) return Step::kUnknown;
        caller.at[i] = v;
        break;
      case Rule::kRegister: return Step::kUnknown;
    }
  }
  if (Registers::kReturn != Registers::kPc) caller.at[Registers::kPc] = caller.at[Registers::kReturn];
  signal_frame = rules.signal_frame;
  r = caller;
  return Step::kCaller;
}

const std::vector<Frame>& DebugInfo::describe(Pc pc) {
  const std::uintptr_t key = place(pc);
  auto it = impl_->frames.find(key);
  if (it == impl_->frames.end()) it = impl_->frames.emplace(key, impl_->look_up(pc)).first;
  return it->second;
}

#else  // without libdw

struct DebugInfo::Impl {
  std::uint64_t version = 0;
  std::unordered_map<std::uintptr_t, std::vector<Frame>> frames;
};

void DebugInfo::refresh() {
  const std::uint64_t version = files_version();
  if (version != impl_->version) impl_->frames.clear();
  impl_->version = version;
}

Step DebugInfo::step(const StackImage&, bool, Registers&, bool&) { return Step::kUnknown; }

const std::vector<Frame>& DebugInfo::describe(Pc pc) {
  const std::uintptr_t key = place(pc);
  auto it = impl_->frames.find(key);
  if (it == impl_->frames.end()) it = impl_->frames.emplace(key, std::vector<Frame>{describe_by_linker(pc)}).first;
  return it->second;
}

#endif

DebugInfo::DebugInfo() : impl_(std::make_unique<Impl>()) {}
DebugInfo::~DebugInfo() = default;

}  // namespace heddle
