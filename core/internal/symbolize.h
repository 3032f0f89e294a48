// DebugInfo: what the process's ELF files say about an address: whose code it is, and how to find the caller.
//
// The only file that sees the DWARF library (elfutils' libdw). Built without it (HEDDLE_DWARF=OFF), or for code that comes
// without symbols, the dynamic linker's tables give what names they have, and file and offset for addr2line otherwise.
//
// I1. Not thread-safe, as libdw is not: the report lock (report.cc) guards the one instance.
// I2. Never on a goroutine's stack and never under a lock of the runtime: libdw allocates, reads files, and takes its time
//     (some 10-100 ms for the first look at a large program; kept from then on). report.cc gives it a thread.
// I3. It reads local files only: debuginfod, for which libdw would go to the network, is not asked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <heddle/core/internal/unwind.h>

namespace heddle {

/// One function at an address; an address within inlined calls has several.
struct Frame {
  std::string function;        // demangled; "" if unknown
  std::string file;            // or the module's, if the line is unknown
  int line = 0;                // 0: unknown
  std::uintptr_t offset = 0;   // from the function's start; from the module's, if that is unknown
  bool inlined = false;        // into the next frame
};

/// What came of a step to the caller.
enum class Step : std::uint8_t { kCaller, kBottom, kUnknown };

class DebugInfo {
 public:
  DebugInfo();
  ~DebugInfo();
  DebugInfo(const DebugInfo&) = delete;
  DebugInfo& operator=(const DebugInfo&) = delete;

  /// Looks which files the process has mapped by now. Call before each report.
  void refresh();

  /// Moves `r` from a function to its caller, by call frame information. kBottom: there is none, the stack ends here.
  /// kUnknown: no information; `r` is as it was. `signal_frame`: the caller was interrupted there, its pc is exact.
  [[nodiscard]] Step step(const StackImage& image, bool exact, Registers& r, bool& signal_frame);

  /// The functions at `pc`, innermost first; at least one. The reference lives until refresh().
  [[nodiscard]] const std::vector<Frame>& describe(Pc pc);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle
