// Script and play(): one end of a connection by raw bytes, step by step: expect these, send those, pause, half-close, reset.
//
//     Script()                                            // a client, played by TestServer::play()
//         .send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
//         .pause(1s)
//         .send("cd")
//         .expect_until("\r\n\r\n")
//         .half_close()
//         .expect_end();
//
// The same for a server that a client is tested with: TestUpstream (test_upstream.h). The first step that does not come out
// ends the play, and Played::problem says which one it was, what was expected and what came instead.
//
// I1. Each piece that is sent is one write, and reaches the other side as one read (test_conn.h I1): a split is where the
//     script has it, whatever the schedule.
// I2. No step waits for longer than the script's patience, by the clock of the test.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/http/test_conn.h>

namespace heddle::http::test {

/// What one end does. Copyable. Each method adds a step, and returns the script.
class Script {
 public:
  /// Sends `bytes` as one piece.
  Script& send(std::string bytes);
  /// Sends them in pieces that end at `cuts`: offsets, rising; {1, 3} of "abcd": "a", "bc", "d".
  Script& send_split(std::string_view bytes, const std::vector<std::size_t>& cuts);
  /// Sends them one by one.
  Script& send_bytewise(std::string_view bytes);

  /// Waits for exactly these bytes; what comes behind them is for the next step.
  Script& expect(std::string bytes);
  /// Waits for bytes that end with `end`, whatever comes before: "\r\n\r\n" for a head.
  Script& expect_until(std::string end);
  /// Waits for `n` bytes, whatever they are.
  Script& expect_size(std::size_t n);
  /// Waits for the end of the other side's stream, and for nothing before it.
  Script& expect_end();
  /// Waits for the other side's reset, whatever comes before it.
  Script& expect_reset();

  /// Lets time pass: by the test's clock, in which it costs nothing.
  Script& pause(Duration d);
  /// Ends this side's stream; the other direction goes on.
  Script& half_close();
  /// Resets the connection: what the other side has not read is lost. Nothing can follow.
  Script& reset();

  /// How long a step may wait. Default: 10 s.
  Script& patience(Duration d);

 private:
  friend struct ScriptRun;
  enum class Kind : std::uint8_t {
    kSend,
    kExpect,
    kExpectUntil,
    kExpectSize,
    kExpectEnd,
    kExpectReset,
    kPause,
    kHalfClose,
    kReset
  };
  struct Step {
    Kind kind;
    std::string bytes;
    std::size_t size = 0;
    Duration pause{};
  };

  Script& add(Kind kind, std::string bytes = {}, std::size_t size = 0, Duration pause = {});

  std::vector<Step> steps_;
  Duration patience_ = std::chrono::seconds(10);
};

/// How a play went.
struct Played {
  std::string problem;   // empty: as the script has it
  std::string received;  // all that the other side sent, as far as the script waited for it

  [[nodiscard]] bool ok() const noexcept { return problem.empty(); }
};

/// Plays `script` on `conn`, and closes that. Parks. Threads: the goroutine that has `conn`.
[[nodiscard]] Played play(const Script& script, TestConn& conn);

/// `bytes` for people: in quotes, with \r, \n, \t, \\, \" and \xNN. For messages.
[[nodiscard]] std::string to_literal(std::string_view bytes);

}  // namespace heddle::http::test
