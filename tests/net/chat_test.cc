// A chat server of serve(), MessageConn and Hub, over TCP: what they promise together.
//
//     NAME              the first line: who one is. Answered, as to all, by "* NAME joined"
//     text              goes to all as "NAME: text"
//     /nick NAME        renames: "* OLD is NAME"
//     /panic            the handler panics
//
// A line of more than kLongest bytes is answered "! too long", and the client put out. In the end all others hear "*
// NAME left".
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include <heddle/core/panic.h>
#include <heddle/net/hub.h>
#include <heddle/net/message_conn.h>
#include <heddle/net/serve.h>

#include "net_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

constexpr std::size_t kLongest = 40'000;

class Chat {
 public:
  explicit Chat(Slow slow, ServeOptions options = {})
      : slow_(slow), listener_(must_listen()), address_(*listener_.local_address()) {
    options.read_grace = Duration(-1);
    options.grace = 120s;  // nobody is cut because the machine is slow
    serving_.go([this, options = std::move(options)] {
      stats_ = serve(
          ctx_.ctx, listener_, [this](const Context& ctx, Conn& conn) { talk(ctx, conn); }, options);
    });
  }
  // The service's end, and what it has to say.
  ServeStats stop() {
    ctx_.cancel();
    serving_.wait();
    return stats_;
  }

  [[nodiscard]] const Address& address() const { return address_; }
  Hub<std::string>& hub() { return hub_; }

 private:
  using Session = MessageConn<SharedCodec<LineCodec>>;

  // Speakers are told to stop by the context, not by close_read(): what they say meanwhile must be read, or the kernel
  // would reset their connections.
  void talk(const Context& ctx, Conn& conn) {
    Session session(conn, SharedCodec(LineCodec(kLongest)), {.out_capacity = 8, .write_timeout = {}});
    Result<std::string> name = session.recv(ctx);
    if (!name) return;
    auto place = hub_.subscribe(session.out(), {.slow = slow_, .on_left = [&] {
                                                  session.close({Code::kLimit, 0, "slow"});
                                                }});
    hub_.broadcast("* " + *name + " joined");
    Result<std::string> line;
    while ((line = session.recv(ctx))) {
      if (line->starts_with("/nick ")) {
        hub_.broadcast("* " + *name + " is " + line->substr(6));
        name = line->substr(6);
      } else if (*line == "/panic") {
        panic("asked for");
      } else {
        hub_.broadcast(*name + ": " + *line);
      }
    }
    place.unsubscribe();
    if (line.error().code == Code::kLimit)
      static_cast<void>(session.send(std::make_shared<const std::string>("! too long")));
    hub_.broadcast("* " + *name + " left");
    static_cast<void>(session.finish(with_timeout({}, 20s).ctx));
  }

  const Slow slow_;
  Hub<std::string> hub_;
  Listener listener_;
  const Address address_;
  const ContextAndCancel ctx_ = with_cancel({});
  WaitGroup serving_;
  ServeStats stats_;
};

// A client, which has joined when it is made.
struct Client {
  Client(const Chat& chat, const std::string& name)
      : conn(must(dial(chat.address()))),
        lines(conn, LineCodec(2 * kLongest), {.read_timeout = {}, .write_timeout = {}}) {
    EXPECT_TRUE(lines.send(name));
    const std::string joined = "* " + name + " joined";
    for (Result<std::string> line = lines.recv(); line && *line != joined; line = lines.recv()) {
    }
  }

  void say(const std::string& text) { EXPECT_TRUE(lines.send(text)); }
  // Reads on until it hears this, unless it was a notice that came before; false if the connection ends first. Notices are kept
  // because they come from other speakers, in no order to what else is said.
  bool hears(const std::string& text) {
    while (!notices.contains(text)) {
      const Result<std::string> line = lines.recv();
      if (!line) return false;
      if (*line == text) return true;
      if (line->starts_with("*")) notices.insert(*line);
    }
    return true;
  }

  Conn conn;
  MessageConn<LineCodec> lines;
  std::set<std::string> notices;
};

class ChatOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, ChatOnProcs, testing::Values(1, 2, 4));

TEST_P(ChatOnProcs, all_hear_all_in_each_speakers_order) {
  with_procs(GetParam(), [] {
    Chat chat(Slow::kWaits);
    constexpr int kClients = 6, kLines = 40 / (1 + kSanitized);
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < kClients; ++i) clients.push_back(std::make_unique<Client>(chat, "c" + std::to_string(i)));
    WaitGroup wg;
    for (int i = 0; i < kClients; ++i) {
      wg.go([&, i] {
        for (int k = 0; k < kLines; ++k) {
          if (k == kLines / 2) clients[i]->say("/nick d" + std::to_string(i));
          clients[i]->say(std::to_string(k));
        }
      });
      wg.go([&, i] {
        std::map<std::string, int> next;
        int heard = 0, renamed = 0;
        while (heard < kClients * kLines || renamed < kClients) {
          const Result<std::string> line = clients[i]->lines.recv();
          ASSERT_TRUE(line) << line.error().message();
          if (line->find(" is d") != std::string::npos) ++renamed;
          if (line->starts_with("*")) continue;
          ++heard;
          const std::size_t colon = line->find(": ");
          const int k = std::stoi(line->substr(colon + 2));
          EXPECT_EQ((*line)[0], k < kLines / 2 ? 'c' : 'd');
          EXPECT_EQ(k, next[line->substr(1, colon - 1)]++) << *line;
        }
      });
    }
    wg.wait();
    // Who leaves in good order is told to the others, and missed by none.
    EXPECT_TRUE(clients.back()->lines.finish(with_timeout({}, 20s).ctx));
    EXPECT_TRUE(clients.front()->hears("* d" + std::to_string(kClients - 1) + " left"));
    wg.go([&] {
      for (auto& one : clients) {
        if (one != clients.back()) {
          EXPECT_TRUE(one->lines.finish(with_timeout({}, 20s).ctx));
        }
      }
    });
    const ServeStats stats = chat.stop();
    wg.wait();
    EXPECT_EQ(stats.accepted, static_cast<std::uint64_t>(kClients));
    EXPECT_EQ(stats.cut, 0u);
    EXPECT_EQ(chat.hub().stats().missed, 0u);
  });
}

TEST(Chat, who_breaks_the_protocol_is_told_and_put_out_alone) {
  with_procs(2, [] {
    Chat chat(Slow::kWaits);
    Client a(chat, "a"), b(chat, "b"), bad(chat, "bad");
    a.say("one");
    EXPECT_TRUE(b.hears("a: one"));
    EXPECT_TRUE(bad.hears("a: one"));
    bad.say(std::string(kLongest + 1, 'x'));
    EXPECT_TRUE(bad.hears("! too long"));
    EXPECT_EQ(bad.lines.recv().error().code, Code::kEof);
    EXPECT_TRUE(a.hears("* bad left"));
    b.say("two");
    EXPECT_TRUE(a.hears("b: two"));
    static_cast<void>(bad.lines.finish(with_timeout({}, 20s).ctx));
    a.lines.close();
    b.lines.close();
    EXPECT_EQ(chat.stop().panics, 0u);
  });
}

TEST(Chat, a_handler_that_panics_harms_its_connection_alone) {
  with_procs(2, [] {
    std::string told;
    Chat chat(Slow::kWaits, {.on_panic = [&](std::exception_ptr thrown, Transport&) {
                told = PanicValue(std::move(thrown)).text();
              }});
    Client a(chat, "a"), b(chat, "b"), bad(chat, "bad");
    bad.say("/panic");
    EXPECT_FALSE(bad.hears("nothing"));
    a.say("one");
    EXPECT_TRUE(b.hears("a: one"));
    b.say("two");
    EXPECT_TRUE(a.hears("b: two"));
    a.lines.close();
    b.lines.close();
    EXPECT_EQ(chat.stop().panics, 1u);
    EXPECT_NE(told.find("asked for"), std::string::npos) << told;
  });
}

TEST(Chat, a_reader_that_is_slow_is_put_out_and_the_others_miss_nothing) {
  with_procs(2, [] {
    Chat chat(Slow::kLeaves);
    Client a(chat, "a"), b(chat, "b");
    Conn slow = must(dial(chat.address()));
    ASSERT_TRUE(slow.write(std::as_bytes(std::span("slow\n", 5))));
    EXPECT_TRUE(a.hears("* slow joined"));
    EXPECT_TRUE(b.hears("* slow joined"));
    // One line after the other, so that none of the others ever has many to take. What is not read fills the kernel's
    // buffers first.
    const std::string text(kLongest - 10, 'x');
    const TimePoint end = now() + 200s;  // the kernel's buffers are megabytes
    int lines = 0;
    for (; chat.hub().stats().left == 0; ++lines) {
      ASSERT_LT(now(), end);
      a.say(text);
      ASSERT_TRUE(a.hears("a: " + text));
      ASSERT_TRUE(b.hears("a: " + text));
    }
    EXPECT_GE(lines, 8);  // as many as its queue holds, at least
    EXPECT_TRUE(a.hears("* slow left"));
    EXPECT_TRUE(b.hears("* slow left"));
    EXPECT_EQ(chat.hub().stats().left, 1u);
    a.lines.close();
    b.lines.close();
    static_cast<void>(chat.stop());
  });
}

TEST_P(ChatOnProcs, a_drain_in_the_middle_of_talk_cuts_nobody_and_leaves_no_gaps) {
  with_procs(GetParam(), [] {
    Chat chat(Slow::kWaits);
    constexpr int kClients = 5;
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < kClients; ++i) clients.push_back(std::make_unique<Client>(chat, std::to_string(i)));
    WaitGroup wg;
    WaitGroup warm;  // until each has heard something of the talk
    warm.add(kClients);
    for (int i = 0; i < kClients; ++i) {
      // Says the next thing when it has heard the last one come back, so that nothing piles up.
      wg.go([&, i] {
        MessageConn<LineCodec>& lines = clients[i]->lines;
        const char me = static_cast<char>('0' + i);
        std::map<char, int> next;
        int said = 0, heard = 0;
        Result<std::string> line;
        do {
          if (next[me] == said && !lines.send(std::to_string(said++))) break;
          line = lines.recv();
          if (!line || line->starts_with("*")) continue;
          EXPECT_EQ(std::stoi(line->substr(3)), next[line->front()]++);
          if (++heard == 20) warm.done();
        } while (line);
        EXPECT_GE(heard, 20);
        EXPECT_EQ(line.error().code, Code::kEof);  // the server's goodbye, not a cut
        lines.close();
      });
    }
    warm.wait();
    const ServeStats stats = chat.stop();
    wg.wait();
    EXPECT_EQ(stats.cut, 0u);
    EXPECT_EQ(stats.accepted, static_cast<std::uint64_t>(kClients));
    EXPECT_EQ(chat.hub().stats().missed, 0u);
  });
}

}  // namespace
}  // namespace heddle::net
