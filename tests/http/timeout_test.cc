// Time limits, with a clock that a test moves: what starts each, what it ends in.
#include <heddle/core/wait_group.h>

#include "http_test.h"

namespace heddle::http::test {
namespace {

constexpr std::string_view kGet = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
const std::string kHello = "200 cl=13 [Hello, World!]";
const std::string kTimedOut = "408 cl=20 close [408 Request Timeout\n]";

template <class F>
void timed(F fn) {
  on_one_p(fn, 1);
}

// Moves time on in steps, so that timers may be armed on the way.
void pass(Rig& rig, Duration d, Duration step = 100ms) {
  for (; d > Duration::zero(); d -= step) {
    FakeTime::pass(std::min(step, d));
    rig.stream.settle();
  }
}

TEST(Timeouts, an_idle_connection_ends_after_idle_timeout) {
  FakeTime time;
  timed([] {
    Rig rig;
    rig.stream.send(kGet);
    rig.stream.settle();
    pass(rig, 74s);
    EXPECT_FALSE(rig.stream.shut());
    rig.stream.send(kGet);  // which starts the clock anew
    rig.stream.settle();
    pass(rig, 74s);
    EXPECT_FALSE(rig.stream.shut());
    pass(rig, 2s);
    EXPECT_TRUE(rig.stream.shut());
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{kHello, kHello})) << "no words to a client that asked nothing";
    pass(rig, 3s);
    EXPECT_TRUE(rig.stream.gone());
  });
}

TEST(Timeouts, setting_the_idle_deadline_costs_no_call_per_request) {
  FakeTime time;
  timed([] {
    Rig rig;
    rig.stream.send(kGet);
    rig.stream.settle();
    const std::int64_t armed = rig.stream.timer();
    for (int i = 0; i < 100; ++i) {
      FakeTime::pass(10ms);
      rig.stream.send(kGet);
      rig.stream.settle();
      EXPECT_EQ(rig.stream.timer(), armed);
    }
  });
}

TEST(Timeouts, a_silent_newcomer_ends_after_header_timeout_without_a_word) {
  FakeTime time;
  timed([] {
    Rig rig;
    pass(rig, 9s);
    EXPECT_FALSE(rig.stream.shut());
    pass(rig, 2s);
    EXPECT_TRUE(rig.stream.shut());
    EXPECT_EQ(rig.stream.written(), "");
  });
}

TEST(Timeouts, a_dripping_head_is_408_however_often_it_drips) {
  FakeTime time;
  timed([] {
    Rig rig;
    rig.stream.send(kGet);
    rig.stream.settle();
    pass(rig, 60s);
    for (int i = 0; i < 9; ++i) {
      rig.stream.send(kGet.substr(static_cast<std::size_t>(i), 1));
      rig.stream.settle();
      pass(rig, 1s);
    }
    EXPECT_EQ(rig.responses().size(), 1u);
    pass(rig, 2s);
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{kHello, kTimedOut}));
    EXPECT_TRUE(rig.stream.shut());
  });
}

TEST(Timeouts, empty_lines_are_part_of_the_head) {
  FakeTime time;
  timed([] {
    Rig rig;
    for (int i = 0; i < 11; ++i) {
      rig.stream.send(i % 2 == 0 ? "\r" : "\n");
      rig.stream.settle();
      pass(rig, 1s);
    }
    EXPECT_EQ(rig.responses(), std::vector<std::string>{kTimedOut});
  });
}

TEST(Timeouts, a_pipelined_part_of_a_head_has_its_own_clock) {
  FakeTime time;
  timed([] {
    Rig rig;
    rig.stream.send(std::string(kGet) + "GET /he");
    rig.stream.settle();
    pass(rig, 9s);
    EXPECT_EQ(rig.responses(), std::vector<std::string>{kHello});
    pass(rig, 2s);
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{kHello, kTimedOut}));
  });
}

TEST(Timeouts, a_stalled_body_is_408) {
  FakeTime time;
  timed([] {
    ServerOptions options;
    options.min_body_rate = 0;
    Rig rig(faces, options);
    rig.stream.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab");
    rig.stream.settle();
    pass(rig, 29s);
    rig.stream.send("cd");
    rig.stream.settle();
    pass(rig, 20s);
    EXPECT_EQ(rig.stream.written(), "");
    pass(rig, 11s);
    EXPECT_EQ(rig.responses(), std::vector<std::string>{kTimedOut});
    EXPECT_TRUE(rig.stream.shut());
  });
}

TEST(Timeouts, a_body_must_make_the_least_rate) {
  FakeTime time;
  timed([] {
    Rig slow;
    slow.stream.send("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    int seconds = 0;
    for (; seconds < 100 && slow.stream.written().empty(); ++seconds) {
      slow.stream.send("x");  // never silent for long, but 1 B/s
      slow.stream.settle();
      pass(slow, 1s);
    }
    EXPECT_GE(seconds, 30);
    EXPECT_LE(seconds, 32);
    EXPECT_EQ(slow.responses(), std::vector<std::string>{"200 cl=24 close [error read body: timeout]"});
  });
  timed([] {
    Rig steady;
    steady.stream.send("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 25700\r\n\r\n");
    for (int i = 0; i < 100; ++i) {
      steady.stream.send(std::string(257, 'x'));
      steady.stream.settle();
      if (i != 99) pass(steady, 1s);
    }
    EXPECT_EQ(steady.responses(), std::vector<std::string>{"200 cl=5 [25700]"});
  });
}

TEST(Timeouts, a_handler_that_takes_its_time_is_not_the_clients_fault) {
  FakeTime time;
  timed([] {
    Rig rig([](Request& r, ResponseWriter& w) {
      sleep(100s);
      w.write(*r.read_all(100));
    });
    rig.stream.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
    rig.stream.settle();
    pass(rig, 101s, 1s);
    EXPECT_EQ(rig.stream.written(), "");
    rig.stream.send("b");
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=2 [ab]"});
  });
}

TEST(Timeouts, a_reader_that_takes_nothing_is_dropped) {
  FakeTime time;
  timed([] {
    Rig rig;
    rig.stream.take_in_all(1000);
    rig.stream.send("GET /big?100000 HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.stream.settle();
    pass(rig, 29s);
    EXPECT_FALSE(rig.stream.closed());
    rig.stream.take_in_all(10);  // progress starts the clock anew
    rig.stream.settle();
    pass(rig, 29s);
    EXPECT_FALSE(rig.stream.closed());
    pass(rig, 2s);
    EXPECT_TRUE(rig.stream.gone());
  });
}

TEST(Timeouts, a_lingering_close_ends_although_the_client_goes_on) {
  FakeTime time;
  timed([] {
    Rig rig;
    rig.stream.send("garbage\r\n\r\n");
    rig.stream.settle();
    EXPECT_TRUE(rig.stream.shut());
    int seconds = 0;
    for (; seconds < 100 && !rig.stream.gone(); ++seconds) {
      rig.stream.send("more");
      rig.stream.settle();
      pass(rig, 1s);
    }
    EXPECT_GE(seconds, 19);
    EXPECT_LE(seconds, 22);
  });
}

TEST(Timeouts, the_longest_duration_is_no_limit) {
  static constexpr Duration kForever = Duration::max();
  FakeTime time;
  timed([] {  // for a body, and for who takes the response
    Rig rig(faces, {.header_timeout = kForever,
                    .idle_timeout = kForever,
                    .body_timeout = kForever,
                    .write_timeout = kForever,
                    .linger_timeout = kForever});
    rig.stream.take_in_all(50);
    rig.stream.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab");
    rig.stream.settle();
    pass(rig, 10'000s, 1000s);
    rig.stream.send("cd");
    rig.stream.settle();
    pass(rig, 10'000s, 1000s);
    rig.stream.take_in_all(MemoryStream::kNoLimit);
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=4 close [abcd]"});
  });
}

TEST(Timeouts, a_lingering_close_without_a_limit_waits_for_the_client) {
  FakeTime time;
  for (const Duration limit : {Duration::zero(), Duration::max()}) {
    timed([&] {
      Rig rig(faces, {.linger_timeout = limit});
      rig.stream.send("garbage\r\n\r\n");
      rig.stream.settle();
      EXPECT_TRUE(rig.stream.shut());
      for (int i = 0; i < 10; ++i) {
        pass(rig, 1000s, 100s);
        rig.stream.send("more");
        rig.stream.settle();
        EXPECT_FALSE(rig.stream.closed());
      }
      rig.stream.end();
      rig.stream.settle();
      EXPECT_TRUE(rig.stream.gone());
    });
  }
}

// ---- shutdown ----

struct Stopped {
  bool done = false;
  bool in_time = false;
};

void stop(Rig& rig, Duration grace, Stopped& stopped) {
  go([&rig, grace, &stopped] {
    stopped.in_time = rig.server.shutdown(grace);
    stopped.done = true;
  });
  rig.stream.settle();
}

TEST(Shutdown, closes_idle_connections_after_a_last_chance) {
  FakeTime time;
  timed([] {
    Rig rig;
    rig.stream.send(kGet);
    rig.stream.settle();
    Stopped stopped;
    stop(rig, 10s, stopped);
    pass(rig, 400ms, 10ms);
    EXPECT_FALSE(rig.stream.shut());
    pass(rig, 200ms, 10ms);
    EXPECT_TRUE(rig.stream.shut());
    EXPECT_FALSE(stopped.done);
    rig.stream.end();
    pass(rig, 100ms, 10ms);
    EXPECT_TRUE(stopped.done);
    EXPECT_TRUE(stopped.in_time);
  });
}

TEST(Shutdown, answers_what_comes_in_the_last_chance_and_says_close) {
  FakeTime time;
  for (const bool fresh : {false, true}) {
    timed([&] {
      Rig rig;
      if (!fresh) rig.stream.send(kGet);
      rig.stream.settle();
      rig.stream.forget_writes();
      Stopped stopped;
      stop(rig, 10s, stopped);
      pass(rig, 300ms, 10ms);
      rig.stream.send(std::string(kGet) + std::string(kGet));
      rig.stream.settle();
      EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=13 close [Hello, World!]"});
      EXPECT_TRUE(rig.stream.shut());
      rig.stream.end();
      pass(rig, 100ms, 10ms);
      EXPECT_TRUE(stopped.done && stopped.in_time);
    });
  }
}

TEST(Shutdown, lets_running_requests_and_begun_heads_end) {
  FakeTime time;
  timed([] {
    Rig rig;
    rig.stream.send("GET /sleep?3000 HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.stream.settle();
    Stopped stopped;
    stop(rig, 10s, stopped);
    pass(rig, 2s);
    EXPECT_FALSE(stopped.done);
    pass(rig, 2s);
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=5 close [slept]"});
    rig.stream.end();
    pass(rig, 100ms, 10ms);
    EXPECT_TRUE(stopped.done && stopped.in_time);
  });
  timed([] {
    Rig rig;
    rig.stream.send(kGet.substr(0, 10));
    rig.stream.settle();
    Stopped stopped;
    stop(rig, 10s, stopped);
    pass(rig, 3s);
    EXPECT_FALSE(rig.stream.shut());
    rig.stream.send(kGet.substr(10));
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=13 close [Hello, World!]"});
    rig.stream.end();
    pass(rig, 100ms, 10ms);
    EXPECT_TRUE(stopped.done && stopped.in_time);
  });
}

TEST(Shutdown, a_connection_that_goes_idle_while_stopping_gets_its_last_chance_too) {
  FakeTime time;
  timed([] {
    Rig rig([](Request&, ResponseWriter& w) {
      w.write("begun");  // the head is fixed, and says nothing of a close
      sleep(1s);
    });
    rig.stream.send(kGet);
    rig.stream.settle();
    Stopped stopped;
    stop(rig, 10s, stopped);
    pass(rig, 1100ms);
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=5 [begun]"});
    EXPECT_FALSE(rig.stream.shut());
    pass(rig, 700ms);
    EXPECT_TRUE(rig.stream.shut());
    rig.stream.end();
    pass(rig, 100ms, 10ms);
    EXPECT_TRUE(stopped.done && stopped.in_time);
  });
}

TEST(Shutdown, cuts_what_is_left_after_the_grace) {
  FakeTime time;
  struct {
    std::string bytes;
    std::size_t takes;
  } cases[] = {
      {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", MemoryStream::kNoLimit},  // waits for a body
      {"GET /big?100000 HTTP/1.1\r\nHost: a\r\n\r\n", 100},                                       // waits for the peer
      {"GET /he", MemoryStream::kNoLimit},                                                        // waits for a head
      {"GET /close HTTP/1.1\r\nHost: a\r\n\r\n", MemoryStream::kNoLimit},                         // lingers
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.bytes);
    timed([&] {
      Rig rig;
      rig.stream.take_in_all(c.takes);
      rig.stream.send(c.bytes);
      rig.stream.settle();
      Stopped stopped;
      stop(rig, 1s, stopped);
      pass(rig, 900ms, 10ms);
      EXPECT_FALSE(stopped.done);
      pass(rig, 2s, 10ms);
      EXPECT_TRUE(stopped.done);
      EXPECT_FALSE(stopped.in_time);
      EXPECT_TRUE(rig.stream.gone());
    });
  }
}

TEST(Shutdown, leaves_a_handler_that_does_not_return_without_a_connection) {
  FakeTime time;
  timed([] {
    Chan<int> gate = make_chan<int>();
    auto rig = std::make_unique<Rig>([gate](Request&, ResponseWriter& w) {
      static_cast<void>(gate.recv());
      w.write("too late");
    });
    rig->stream.send(kGet);
    rig->stream.settle();
    Stopped stopped;
    stop(*rig, 1s, stopped);
    pass(*rig, 3s, 10ms);
    EXPECT_TRUE(stopped.done);
    EXPECT_FALSE(stopped.in_time);
    EXPECT_TRUE(rig->stream.shut());
    gate.send(1);
    rig->stream.settle();
    EXPECT_EQ(rig->stream.written(), "");
    EXPECT_TRUE(rig->stream.gone());
  });
}

// The handler has found its body cut short, and has not moved since: what the cut does goes beside that look.
TEST(Shutdown, cuts_beside_a_handler_that_has_just_met_the_end_of_its_body) {
  RunOptions options;
  options.procs = 3;
  options.preempt = false;
  run(
      [] {
        std::atomic<bool> met{false};
        std::atomic<bool> stopped{false};
        Rig rig([&](Request& r, ResponseWriter&) {
          std::byte one[1];
          EXPECT_FALSE(r.read(one));
          // relaxed: orders nothing, or it would hide what TSan is to see.
          met.store(true, std::memory_order_relaxed);
          while (!stopped.load(std::memory_order_relaxed)) {
          }
        });
        rig.stream.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
        rig.stream.end();
        EXPECT_TRUE(rig.stream.pump_until([&] { return met.load(std::memory_order_relaxed); }));
        WaitGroup stop;
        stop.go([&] { EXPECT_FALSE(rig.server.shutdown(0s)); });
        EXPECT_TRUE(rig.stream.pump_until([&] { return rig.stream.shut(); }));
        stopped.store(true, std::memory_order_relaxed);
        EXPECT_TRUE(rig.stream.pump_until([&] { return rig.stream.gone(); }));
        stop.wait();
      },
      options);
}

TEST(Shutdown, accepts_nobody_afterwards) {
  FakeTime time;
  timed([] {
    Rig rig;
    rig.stream.end();
    Stopped stopped;
    stop(rig, 1s, stopped);
    pass(rig, 100ms, 10ms);
    EXPECT_TRUE(stopped.done && stopped.in_time);
    MemoryStream late;
    EXPECT_EQ(rig.server.acceptor().on_accept(late), nullptr);
  });
}

}  // namespace
}  // namespace heddle::http::test
