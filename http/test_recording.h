// Recording: the raw bytes of one connection, both ways, with times: made by a tap, kept as text, played again (test_replay.h).
//
//     auto tap = std::make_shared<Tap>();
//     TestServer server(handler, {.client_end = tapped(tap)});     // or: a Dialer that calls record()
//     …
//     tap->recording().save("tests/data/upload.rec");
//
// The text is made to be read, edited and compared line by line:
//
//     heddle-recording 1
//     # a comment, as every line that begins so; lines without anything are skipped, too
//     > 0.000000000                        the client sent, so many seconds after the recording began
//     |GET / HTTP/1.1\r\n                  one piece: these lines together, escapes undone
//     |Host: a\r\n
//     |\r\n
//     < 0.001250000                        the server sent
//     |HTTP/1.1 204 No Content\r\n
//     |\r\n
//     > 0.002000000 end                    the client's stream ended
//     < 0.002100000 reset                  the server's broke
//
// A time may be "-": it was left out, so that recordings of the same talk are the same. A line of bytes stands behind its '|',
// with \r, \n, \t, \\, \" and \xNN for what is no printable ASCII, and ends after a \n or some 100 bytes.
//
// I1. A piece is what one call read or wrote at the tapped end. A write is noted as it begins and a read as it ends, so an
//     answer never stands before what it answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/core/error.h>
#include <heddle/core/lock.h>
#include <heddle/http/test_server.h>
#include <heddle/net/transport.h>

namespace heddle::http::test {

enum class Side : std::uint8_t { kClient, kServer };

/// What was said on one connection. A value.
struct Recording {
  enum class Kind : std::uint8_t { kBytes, kEnd, kReset };
  struct Event {
    Side from = Side::kClient;
    Kind kind = Kind::kBytes;
    std::string bytes = {};
    Duration at{};  // since the recording began

    friend bool operator==(const Event&, const Event&) = default;
  };
  enum class Times : std::uint8_t { kKept, kLeftOut };

  std::vector<Event> events;

  /// All bytes that one side sent.
  [[nodiscard]] std::string said_by(Side side) const;

  /// The format above. parse() undoes it.
  [[nodiscard]] std::string to_text(Times times = Times::kKept) const;
  /// Errors: kInvalid for what is no such text.
  [[nodiscard]] static Result<Recording> parse(std::string_view text);

  /// The same by way of a file. They block the thread, for the time of a small file. Errors: of the file's; load(): kInvalid.
  [[nodiscard]] Result<void> save(const std::string& path, Times times = Times::kKept) const;
  [[nodiscard]] static Result<Recording> load(const std::string& path);
};

/// Where a recording is made. Threads: any.
class Tap {
 public:
  Tap();
  /// What was recorded so far.
  [[nodiscard]] Recording recording() const;
  /// For decorators: notes an event of this moment.
  void note(Side from, Recording::Kind kind, std::string bytes = {});

 private:
  const std::int64_t begin_;
  mutable RawMutex lock_{LockRank::kSync};
  Recording recording_;  // guarded by lock_
};

/// `inner`, which is the end of the connection that `side` has, with all that goes through it noted on `tap`.
[[nodiscard]] std::unique_ptr<net::Transport> record(std::unique_ptr<net::Transport> inner, Side side,
                                                     std::shared_ptr<Tap> tap);

/// record() as a Decorator. A recording is of one connection: with several they mix, so give each test one.
[[nodiscard]] Decorator tapped(std::shared_ptr<Tap> tap, Side side = Side::kClient);

}  // namespace heddle::http::test
