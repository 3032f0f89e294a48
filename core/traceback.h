// Tracebacks: where a goroutine is, as text; and how much of that a dying program prints.
#pragma once

#include <cstdint>
#include <string>

namespace heddle {

/// HEDDLE_TRACEBACK, with the meanings of Go's GOTRACEBACK: what an unrecovered panic prints after its message.
enum class TracebackLevel : std::uint8_t {
  kNone,    // "none", "0": nothing
  kSingle,  // "single", the default: the goroutine that panicked
  kAll,     // "all", "1": the others, too
  kSystem,  // "system", "2": likewise, with the frames inside the runtime, which are hidden otherwise
};

/// What the environment asks for; kSingle if it does not, or asks for something unknown.
[[nodiscard]] TracebackLevel traceback_level() noexcept;

/// The calling goroutine's stack in the form that dump_goroutines() describes; for a log line. "" outside a goroutine.
///
/// Parks the goroutine; the first call in a process may take some 100 ms, while it reads the program's debug information.
/// Threads: goroutines.
[[nodiscard]] std::string traceback();

}  // namespace heddle
