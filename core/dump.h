// The report of all goroutines: what SIGQUIT prints, and what a debug page shows.
#pragma once

#include <string>

namespace heddle {

/// What a report shows.
struct DumpOptions {
  bool stacks = false;          // with each goroutine's stack
  bool runtime_frames = false;  // also the frames inside the runtime (park, the switch), which are hidden otherwise
};

/// Every live goroutine: id, status or wait reason, name, labels, stack if asked for, creator and creation site, in the
/// form of Go's tracebacks. Goroutines go on meanwhile: each one's part is true of its moment, not all of one moment.
///
///     goroutine 18 [chan receive] "worker":
///     demo::consume(heddle::Chan<int>)
///     	/src/demo.cc:42 +0x1c
///     created by goroutine 1 at demo.cc:12 (int main()::<lambda()>)
///
/// A function's name stands over the place where it is, and the offset from its start; calls that the compiler inlined
/// have none. Without debug information there are names and offsets only, in a stripped program the file and the offset in
/// it. The stack of a goroutine that runs is asked of its thread by a signal (SIGURG); what it does not tell within some
/// 20 ms is "(running; stack unavailable)".
///
/// On SIGQUIT all of this goes to standard error and the process goes on (Go's would end with status 2): a server can be
/// asked what it is doing and keep doing it.
///
/// Threads: any. With stacks, a goroutine that calls parks meanwhile; the first report of a process may take some 100 ms.
///          A raw system call on a worker thread may end with EINTR, as after any signal.
/// Empty outside run().
[[nodiscard]] std::string dump_goroutines(const DumpOptions& options = {});

/// Prints every goroutine with its stack to standard error. As dump_goroutines().
void dump();

}  // namespace heddle
