// replay(): plays one side of a Recording (test_recording.h) again, and compares what the other side says now.
//
//     const auto recording = Recording::load("tests/data/upload.rec");
//     const Replayed now = replay(*recording, handler);
//     EXPECT_EQ(now.difference, "");
//
// A regression test out of real traffic: of a handler with the client's bytes, of code that uses a Client with the server's.
// Pieces are sent as they were recorded, each as one write; times are not kept. A piece that was sent after something had come
// is sent when as much has come again: counted in bytes after normalising, since what differs each time (Date) may differ in
// length, too. What never comes is waited for as long as `patience`, once, and then told as a difference.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/http/client.h>
#include <heddle/http/server.h>
#include <heddle/http/test_recording.h>
#include <heddle/http/test_server.h>

namespace heddle::http::test {

/// Makes two talks comparable: returns `said` with what may differ made the same. Called with a part of a stream, too: the
/// result for the whole must begin as that for the part, or be longer.
using Normaliser = std::function<std::string(std::string_view said)>;

/// Puts "*" for the values of the fields of these names, in any case: wherever a line "Name: value" stands, also in bodies.
[[nodiscard]] Normaliser mask_fields(std::vector<std::string> names);

struct ReplayOptions {
  TestServerOptions server = {};                 // replay()
  ClientOptions client = {};                     // replay_to_client()
  Normaliser normalise = mask_fields({"Date"});  // empty: nothing
  Duration patience = std::chrono::seconds(10);  // for what should come and does not, by the test's clock
};

/// How a replay went.
struct Replayed {
  /// Empty: the same was said. Else the first line that differs, of both.
  std::string difference;
  std::string said;  // now, by the side that was tested; not normalised

  [[nodiscard]] bool same() const noexcept { return difference.empty(); }
};

/// Plays the client's bytes against `handler`. A server that ended the connection must end it again, before the client does.
/// Parks. Threads: goroutines.
[[nodiscard]] Replayed replay(const Recording& recording, const Handler& handler, const ReplayOptions& options = {});

/// Plays the server's bytes to a Client that `drive` uses, on one connection; a second one is refused. It waits until `drive`
/// has returned. Parks. Threads: goroutines.
[[nodiscard]] Replayed replay_to_client(const Recording& recording, const std::function<void(Client&)>& drive,
                                        const ReplayOptions& options = {});

}  // namespace heddle::http::test
