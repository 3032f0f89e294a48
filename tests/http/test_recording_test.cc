// Recordings and replays: what was said can be kept as text, and said again.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include <heddle/core/go.h>
#include <heddle/core/test.h>
#include <heddle/http/test_recording.h>
#include <heddle/http/test_replay.h>

namespace heddle::http::test {
namespace {

using namespace std::chrono_literals;

void hello(Request& request, ResponseWriter& w) {
  w.write("hello " + std::string(request.path()) + " " + request.read_all(1 << 20).value_or("broken"));
}

std::string told(Result<ClientResponse> response) {
  if (!response) return to_string(response.error().code);
  return response->read_all(1 << 20).value_or("broken");
}

constexpr std::string_view kText =
    "heddle-recording 1\n"
    "# two requests\n"
    "> 0.000000000\n"
    "|GET /a HTTP/1.1\\r\\n\n"
    "|Host: a\\r\\n\n"
    "|\\r\\n\n"
    "\n"
    "< 1.5\n"
    "|HTTP/1.1 200 OK\\r\\n\n"
    "|Date: Sat, 21 Nov 2026 02:47:38 GMT\\r\\n\n"
    "|Content-Length: 9\\r\\n\n"
    "|\\r\\n\n"
    "|hello /a \n"
    "> -\n"
    "|GET /b HTTP/1.1\\r\\n\n"
    "|Host: a\\r\\n\n"
    "> 2.000000001\n"
    "|\\r\\n\n"
    "< 2.000000002\n"
    "|HTTP/1.1 200 OK\\r\\n\n"
    "|Date: Sat, 21 Nov 2026 02:47:39 GMT\\r\\n\n"
    "|Content-Length: 9\\r\\n\n"
    "|\\r\\n\n"
    "|hello /b \n"
    "> 3 end\n"
    "< 3.000000000 end";

TEST(TestRecording, text_is_read_and_written) {
  const Result<Recording> read = Recording::parse(kText);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->events.size(), 7u);
  EXPECT_EQ(read->events[0].bytes, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(read->events[1].at, 1500ms);
  EXPECT_EQ(read->events[3].at, 2s + 1ns);
  EXPECT_EQ(read->events[5].kind, Recording::Kind::kEnd);
  EXPECT_EQ(read->said_by(Side::kClient), "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
  const Result<Recording> again = Recording::parse(read->to_text());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->events, read->events);
}

TEST(TestRecording, every_byte_survives_the_text) {
  Recording recording;
  std::string all;
  for (int i = 0; i < 1000; ++i) all += static_cast<char>(i * 7 % 256);
  recording.events.push_back({.from = Side::kServer, .bytes = all, .at = 5ns});
  recording.events.push_back({.from = Side::kServer, .kind = Recording::Kind::kReset});
  const std::string text = recording.to_text();
  for (const char c : text) EXPECT_TRUE(c == '\n' || (c >= ' ' && c <= '~'));
  const Result<Recording> again = Recording::parse(text);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->events, recording.events);
}

TEST(TestRecording, what_is_no_recording_is_an_error) {
  for (const std::string text :
       {"x", "heddle-recording 2\n", "heddle-recording 1\n|x\n", "heddle-recording 1\n> \n",
        "heddle-recording 1\n> 1.x\n", "heddle-recording 1\n> 0 fin\n", "heddle-recording 1\n>0\n",
        "heddle-recording 1\n> 0\n|\\q\n", "heddle-recording 1\n> 0\n|\\x1\n", "heddle-recording 1\n> 0 end\n|x\n",
        "heddle-recording 1\n> 0\n|\\\n", "heddle-recording 1\n> -1\n", "heddle-recording 1\n> 0.1234567890\n",
        "heddle-recording 1\n?\n"}) {
    EXPECT_FALSE(Recording::parse(text)) << text;
  }
}

TEST(TestRecording, any_damaged_text_is_read_or_refused) {
  for (std::size_t i = 0; i < kText.size(); ++i) {
    for (const char c : {'\n', '|', '\\', '>', '9', '\xff'}) {
      std::string text(kText);
      text[i] = c;
      static_cast<void>(Recording::parse(text));
    }
    static_cast<void>(Recording::parse(kText.substr(0, i)));
  }
}

TEST(TestRecording, goes_by_way_of_a_file) {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("heddle-recording-" + std::to_string(::getpid()))).string();
  const Recording recording = *Recording::parse(kText);
  ASSERT_TRUE(recording.save(path));
  const Result<Recording> read = Recording::load(path);
  std::remove(path.c_str());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->events, recording.events);
  EXPECT_EQ(Recording::load(path).error().code, Code::kNotFound);
}

TEST(TestRecording, a_tap_notes_both_directions_with_the_tests_time) {
  heddle::test::run([] {
    const auto at_client = std::make_shared<Tap>();
    const auto at_server = std::make_shared<Tap>();
    {
      TestServer server(
          [](Request& request, ResponseWriter& w) {
            heddle::sleep(2s);
            hello(request, w);
          },
          {.client_end = tapped(at_client), .server_end = tapped(at_server, Side::kServer)});
      auto client = server.client();
      EXPECT_EQ(told(client.get(server.url("/a"))), "hello /a ");
    }
    const Recording seen = at_client->recording();
    ASSERT_GE(seen.events.size(), 3u) << seen.to_text();
    EXPECT_TRUE(seen.events[0].bytes.starts_with("GET /a HTTP/1.1\r\n"));
    EXPECT_EQ(seen.events[0].at, 0s);
    EXPECT_EQ(seen.events[1].at, 2s);
    EXPECT_EQ(seen.events[2].kind, Recording::Kind::kEnd);
    for (const Side side : {Side::kClient, Side::kServer})
      EXPECT_EQ(seen.said_by(side), at_server->recording().said_by(side));
    EXPECT_EQ(replay(seen, hello).difference, "");
  });
}

TEST(TestReplay, a_handler_that_says_the_same_passes) {
  heddle::test::explore(20, [] { EXPECT_EQ(replay(*Recording::parse(kText), hello).difference, ""); });
}

// What our server says to the client of kText today, as a recording.
Recording own_recording() {
  const auto tap = std::make_shared<Tap>();
  TestServer server(hello, {.server_end = tapped(tap, Side::kServer)});
  EXPECT_EQ(server
                .play(Script()
                          .send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
                          .expect_until("hello /a ")
                          .send_split("GET /b HTTP/1.1\r\nHost: a\r\n\r\n", {10})
                          .expect_until("hello /b ")
                          .half_close()
                          .expect_end())
                .problem,
            "");
  server.close();
  return tap->recording();
}

TEST(TestReplay, tells_where_a_handler_says_something_else) {
  heddle::test::run([] {
    const Recording recording = own_recording();
    EXPECT_EQ(replay(recording, hello).difference, "");
    const Replayed other = replay(recording, [](Request& request, ResponseWriter& w) {
      w.write(request.path() == "/a" ? "hello /a " : "HELLO /b ");
    });
    EXPECT_NE(other.difference.find("recorded \"hello /b \", now \"HELLO /b \""), std::string::npos)
        << other.difference;
    const Replayed longer = replay(recording, [](Request& request, ResponseWriter& w) {
      w.set_header("X-New", "1");
      hello(request, w);
    });
    EXPECT_NE(longer.difference.find("now \"X-New: 1\\r\\n\""), std::string::npos) << longer.difference;
    const Replayed masked =
        replay(recording, hello, {.normalise = mask_fields({"date", "content-length", "Content-Type"})});
    EXPECT_EQ(masked.difference, "");
  });
}

TEST(TestReplay, an_answer_that_stays_out_is_a_difference_after_some_patience) {
  heddle::test::run([] {
    const Replayed stuck = replay(own_recording(),
                                  [](Request& request, ResponseWriter& w) {
                                    if (request.path() == "/b") heddle::sleep(1h);
                                    hello(request, w);
                                  },
                                  {.server = {.server = {}}, .patience = 3s});
    EXPECT_NE(stuck.difference, "");
  });
}

TEST(TestReplay, what_stays_out_is_waited_for_once) {
  heddle::test::run([] {
    Recording recording;
    for (int i = 0; i < 5; ++i) {
      recording.events.push_back({.from = Side::kClient, .bytes = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"});
      recording.events.push_back({.from = Side::kServer, .bytes = std::string(1000, 'x')});
    }
    const TimePoint begin = now();
    EXPECT_NE(replay(recording, hello, {.patience = 3s}).difference, "");
    EXPECT_LT(now() - begin, 4s);
  });
}

TEST(TestReplay, a_connection_that_should_end_and_does_not_is_a_difference) {
  heddle::test::run([] {
    const auto tap = std::make_shared<Tap>();
    {
      TestServer server(
          [](Request&, ResponseWriter& w) {
            w.close_connection();
            w.write("bye");
          },
          {.server_end = tapped(tap, Side::kServer)});
      EXPECT_EQ(
          server.play(Script().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect_until("bye").expect_end()).problem, "");
    }
    EXPECT_EQ(replay(tap->recording(),
                     [](Request&, ResponseWriter& w) {
                       w.close_connection();
                       w.write("bye");
                     })
                  .difference,
              "");
    EXPECT_NE(replay(tap->recording(), [](Request&, ResponseWriter& w) { w.write("bye"); }).difference, "");
  });
}

TEST(TestReplay, the_servers_side_is_played_to_a_client) {
  heddle::test::explore(10, [] {
    const auto tap = std::make_shared<Tap>();
    const auto drive = [](Client& client) {
      EXPECT_EQ(told(client.get("http://server.test/a")), "hello /a ");
      EXPECT_EQ(told(client.post({}, "http://server.test/b", "text/plain", RequestBody::bytes("body"))),
                "hello /b body");
    };
    {
      TestServer server(hello, {.client_end = tapped(tap)});
      auto client = server.client();
      drive(client);
    }
    EXPECT_EQ(replay_to_client(tap->recording(), drive).difference, "");
    const Replayed other = replay_to_client(tap->recording(), [](Client& client) {
      EXPECT_EQ(told(client.get("http://server.test/z")), "hello /a ");
      static_cast<void>(client.get("http://server.test/b"));
    });
    EXPECT_TRUE(
        other.difference.starts_with("line 1: recorded \"GET /a HTTP/1.1\\r\\n\", now \"GET /z HTTP/1.1\\r\\n\""))
        << other.difference;
    EXPECT_NE(replay_to_client(tap->recording(), [](Client&) {}).difference, "");
  });
}

}  // namespace
}  // namespace heddle::http::test
