// Other people's programs as a test's other end: found along PATH, run to their end or started as servers.
//
// A program that is not there is a skip with its name, never a pass. Nothing here reaches beyond the loopback address, and
// nothing is installed, fetched or written outside of a folder that goes with the test.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/net/process.h>

namespace heddle::test {

/// Where the program of that name is: itself if it is a path, along PATH, or where Debian has what administrators use; empty:
/// nowhere.
[[nodiscard]] std::string find_tool(const std::string& name);

/// Ends the test as skipped unless all those programs are there. In a test's body, outside of run().
#define HEDDLE_NEED_TOOLS(...)                                                                                \
  do {                                                                                                        \
    for (const char* heddle_tool : {__VA_ARGS__}) {                                                           \
      if (::heddle::test::find_tool(heddle_tool).empty()) GTEST_SKIP() << heddle_tool << " is not installed"; \
    }                                                                                                         \
  } while (false)

/// How long a tool may take: a failure of the test, not a measure.
inline constexpr Duration kToolPatience = std::chrono::seconds(100);

/// Runs the program to its end. What it writes is kept, 64 MiB at most. `env` is added to ours.
/// A failure to start it, or one that had to be killed, is a failure of the test. Threads: a goroutine.
[[nodiscard]] net::Output run_tool(const std::string& name, std::vector<std::string> args, std::string_view input = {},
                                   const std::vector<std::string>& env = {});

/// The same for one that tells by its exit status whether all was right; if not, what it wrote is shown.
void expect_tool_succeeds(const std::string& name, std::vector<std::string> args,
                          const std::vector<std::string>& env = {});

/// A folder that goes with this object and all that is in it.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  /// Its file `name`, with `text` in it. Returns its path.
  std::string write(const std::string& name, std::string_view text) const;
  [[nodiscard]] std::string read(const std::string& name) const;

 private:
  std::string path_;
};

/// Printable bytes without order, the same each time.
[[nodiscard]] std::string noise(std::size_t size);

/// Our file of that name beside this one.
[[nodiscard]] std::string script(const std::string& name);

/// 1, or what HEDDLE_INTEROP says: how many times as much is to be done. Then loads take that many seconds.
[[nodiscard]] int effort();

/// Builds a Go program of one file into `folder`; empty, and a failure of the test, if that does not work.
[[nodiscard]] std::string build_go(const std::string& source, const TempFolder& folder);

}  // namespace heddle::test
