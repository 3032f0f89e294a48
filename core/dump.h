// The report of all goroutines: what SIGQUIT prints, and what a debug page shows.
#pragma once

#include <string>

namespace heddle {

/// Every live goroutine: id, status or wait reason, name, creator and creation site, in the form of Go's tracebacks
/// without frames. Goroutines go on running meanwhile: each line is true of its moment, not all of one moment.
///
///     goroutine 18 [chan receive] "worker":
///     created by goroutine 1 at main.cc:12 (int main()::<lambda()>)
///
/// On SIGQUIT the same goes to standard error and the process goes on (Go's would end with status 2): a server can be
/// asked what it is doing and keep doing it.
/// Threads: any. Empty outside run().
[[nodiscard]] std::string dump_goroutines();

}  // namespace heddle
