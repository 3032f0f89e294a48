// Many connections at once on several Ps: each has a goroutine that plays its home worker and its client, with random
// pieces, pauses and ends, from a printed seed. What must hold: responses in order, bytes in are bytes out, nothing
// left.
#include <heddle/core/blocking.h>
#include <heddle/core/goroutine_local.h>
#include <heddle/core/internal/g.h>
#include <heddle/core/mutex.h>
#include <heddle/core/sched_stats.h>
#include <heddle/core/section.h>
#include <heddle/core/wait_group.h>

#include <random>

#include "http_test.h"

namespace heddle::http::test {
namespace {

using Random = std::mt19937;

std::size_t below(Random& random, std::size_t n) {
  return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
}

std::string pattern(Random& random, std::size_t size) {
  std::string s(size, '\0');
  auto c = static_cast<unsigned>(below(random, 26));
  for (char& to : s) to = static_cast<char>('a' + c++ % 26);
  return s;
}

struct Exchanged {
  std::string in;
  std::string out;
};

std::string listed(const std::string& body) {
  return "200 cl=" + std::to_string(body.size()) + " [" +
         (body.size() > 200 ? "size " + std::to_string(body.size()) : body) + "]";
}

Exchanged random_request(Random& random) {
  const std::string host = " HTTP/1.1\r\nHost: a\r\n";
  switch (below(random, 7)) {
    case 0: {
      const std::string body = pattern(random, below(random, 9000));
      return {"POST /echo" + host + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body, listed(body)};
    }
    case 1: {
      std::string body;
      std::string in = "POST /echo" + host + "Transfer-Encoding: chunked\r\n\r\n";
      for (std::size_t i = below(random, 5); i > 0; --i) {
        const std::string part = pattern(random, 1 + below(random, 600));
        char size[48];
        std::snprintf(size, sizeof(size), "%zx;e=%zu\r\n", part.size(), i);
        in += size + part + "\r\n";
        body += part;
      }
      return {in + "0\r\n\r\n", listed(body)};
    }
    case 2: {
      const std::string body = pattern(random, below(random, 3000));
      return {"POST /ignore" + host + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body,
              "200 cl=7 [ignored]"};
    }
    case 3: return {"GET /yield?" + std::to_string(below(random, 4)) + host + "\r\n", "200 cl=7 [yielded]"};
    case 4: {
      const std::size_t n = below(random, 50000);
      const bool whole = n < 15000;
      return {"GET /big?" + std::to_string(n) + host + "\r\n",
              (whole ? "200 cl=" + std::to_string(n) : "200 chunked") + " [" +
                  (n > 200 ? "size " + std::to_string(n) : std::string(n, 'b')) + "]"};
    }
    case 5: return {"GET /sleep?" + std::to_string(below(random, 2)) + host + "\r\n", "200 cl=5 [slept]"};
    default: return {"GET /hello" + host + "\r\n", "200 cl=13 [Hello, World!]"};
  }
}

// 200 with cl or chunked is the server's choice near the buffer's size.
std::string loose(std::string line) {
  if (line.rfind("200 c", 0) == 0 && line.find("[size") != std::string::npos) return line.substr(line.find('['));
  return line;
}

void converse(Server& server, unsigned seed) {
  Random random(seed);
  MemoryStream stream;
  net::StreamSink* sink = server.acceptor().on_accept(stream);
  ASSERT_NE(sink, nullptr);
  stream.attach(sink);
  if (below(random, 3) == 0) stream.take_per_write(1 + below(random, 5000));
  std::string in;
  std::vector<std::string> wanted;
  for (std::size_t i = 1 + below(random, 30); i > 0; --i) {
    Exchanged e = random_request(random);
    in += e.in;
    wanted.push_back(loose(e.out));
  }
  const bool vanish = below(random, 4) == 0;
  if (vanish) in.resize(below(random, in.size()));
  for (std::size_t at = 0; at < in.size();) {
    const std::size_t n = std::min(in.size() - at, 1 + below(random, below(random, 2) == 0 ? 50 : 5000));
    stream.send(std::string_view(in).substr(at, n));
    at += n;
    for (std::size_t k = below(random, 4); k > 0; --k) gosched();
  }
  if (vanish) {
    stream.end(below(random, 2) == 0 ? Code::kEof : Code::kReset);
  } else {
    std::size_t count = 0;
    EXPECT_TRUE(stream.pump_until([&] {
      const auto got = read_responses(stream.written());
      count = got.size();
      return count >= wanted.size() && got.back().find("cut") == std::string::npos;
    }));
    std::vector<std::string> got = read_responses(stream.written());
    for (std::string& line : got) line = loose(line);
    EXPECT_EQ(got, wanted) << "seed " << seed;
    stream.end();
  }
  EXPECT_TRUE(stream.pump_until([&] { return stream.gone(); })) << "seed " << seed;
}

TEST(Concurrent, conversations_come_out_right_on_several_ps) {
  const unsigned base = std::random_device{}();
  SCOPED_TRACE("base seed " + std::to_string(base));
  for (int procs : {1, 2, 4}) {
    RunOptions options;
    options.procs = procs;
    run(
        [&] {
          Server server(faces);
          WaitGroup wg;
          for (unsigned i = 0; i < 60; ++i) wg.go([&server, seed = base + i] { converse(server, seed); });
          wg.wait();
          EXPECT_EQ(server.stats().open, 0u);
          EXPECT_EQ(server.stats().accepted, 60u);
        },
        options);
  }
}

GoroutineLocal<int> left_behind;

// A goroutine whose slice is over gives way as it starts the next request's, which owns the connection from then on: what
// the older one had asked for at its parks (earlier responses are sent) must not look at the connection any more. As a race
// it showed once in many runs; so the one P here lets each handler look at its predecessor, which waits or has ended.
TEST(Concurrent, who_hands_over_late_in_its_slice_leaves_the_connection_alone) {
  RunOptions options;
  options.procs = 1;
  run(
      [&] {
        constexpr std::size_t kRequests = 20;
        const G* last = nullptr;
        int late = 0;
        Server server([&](Request&, ResponseWriter& w) {
          EXPECT_TRUE(w.write("done"));
          if (last != nullptr && last != current_g()) {
            ++late;
            EXPECT_EQ(last->on_park, nullptr);
          }
          last = current_g();
          left_behind.set(1);  // else the same goroutine goes on
          heddle::detail::thread_state()->want_yield.store(1, std::memory_order_relaxed);  // its slice is over
        });
        MemoryStream stream;
        net::StreamSink* sink = server.acceptor().on_accept(stream);
        ASSERT_NE(sink, nullptr);
        stream.attach(sink);
        std::string in;
        for (std::size_t k = 0; k < kRequests; ++k) in += "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.send(in);
        EXPECT_TRUE(stream.pump_until([&] { return read_responses(stream.written()).size() == kRequests; }));
        EXPECT_GT(late, 0) << "nobody gave way: the test has tested nothing";
        stream.end();
        EXPECT_TRUE(stream.pump_until([&] { return stream.gone(); }));
        while (sched_stats().goroutines > 1) gosched();  // those that gave way end
      },
      options);
}

TEST(Concurrent, what_a_handler_leaves_on_its_goroutine_the_next_request_does_not_find) {
  run([&] {
    std::vector<std::uint64_t> ids;
    Server server([&](Request& request, ResponseWriter& w) {
      ids.push_back(goroutine_id());
      EXPECT_FALSE(left_behind.has());
      if (request.path() == "/value") left_behind.set(1);
      if (request.path() == "/thread") lock_os_thread();
      EXPECT_TRUE(w.write("done"));
    });
    MemoryStream stream;
    net::StreamSink* sink = server.acceptor().on_accept(stream);
    ASSERT_NE(sink, nullptr);
    stream.attach(sink);
    std::string in;
    for (const char* path : {"/", "/", "/value", "/thread", "/", "/"}) {
      in += std::string("GET ") + path + " HTTP/1.1\r\nHost: a\r\n\r\n";
    }
    stream.send(in);
    EXPECT_TRUE(stream.pump_until([&] { return read_responses(stream.written()).size() == 6; }));
    ASSERT_EQ(ids.size(), 6U);
    EXPECT_EQ(ids[0], ids[1]);  // nothing was left: the same goes on
    EXPECT_EQ(ids[1], ids[2]);
    EXPECT_NE(ids[2], ids[3]);
    EXPECT_NE(ids[3], ids[4]);
    EXPECT_EQ(ids[4], ids[5]);
    stream.end();
    EXPECT_TRUE(stream.pump_until([&] { return stream.gone(); }));
  });
}

TEST(Concurrent, conversations_come_out_right_in_permuted_order) {
  const unsigned base = std::random_device{}();
  for (unsigned i = 0; i < 20; ++i) {
    SCOPED_TRACE("seed " + std::to_string(base + i));
    RunOptions options;
    options.procs = 1;
    options.seed = base + i + 1;
    run(
        [&] {
          Server server(faces);
          WaitGroup wg;
          for (unsigned k = 0; k < 4; ++k) wg.go([&server, seed = base + i * 10 + k] { converse(server, seed); });
          wg.wait();
          EXPECT_EQ(server.stats().open, 0u);
        },
        options);
  }
}

// Clients that always have the next request on its way: none of them may be dropped when the server stops.
TEST(Concurrent, shutdown_under_load_drops_no_request) {
  for (int round = 0; round < 10; ++round) {
    RunOptions options;
    options.procs = 3;
    run(
        [&] {
          Server server(faces);
          WaitGroup wg;
          std::atomic<int> served{0};
          for (unsigned i = 0; i < 20; ++i) {
            wg.go([&, seed = static_cast<unsigned>(round) * 100 + i] {
              Random random(seed);
              MemoryStream stream;
              net::StreamSink* sink = server.acceptor().on_accept(stream);
              if (sink == nullptr) return;
              stream.attach(sink);
              for (bool last = false; !last;) {
                const std::string in = below(random, 2) == 0 ? "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
                                                             : "GET /yield?1 HTTP/1.1\r\nHost: a\r\n\r\n";
                const std::size_t cut = below(random, in.size());
                stream.forget_writes();
                stream.send(std::string_view(in).substr(0, cut));
                gosched();
                stream.send(std::string_view(in).substr(cut));
                EXPECT_TRUE(stream.pump_until([&] { return stream.shut() || !stream.written().empty(); }));
                const auto got = read_responses(stream.written());
                ASSERT_EQ(got.size(), 1u) << "a request was dropped";
                EXPECT_EQ(got[0].substr(0, 3), "200");
                last = got[0].find(" close") != std::string::npos;
                ++served;
              }
              stream.end();
              EXPECT_TRUE(stream.pump_until([&] { return stream.gone(); }));
            });
          }
          while (served < 500) gosched();
          EXPECT_TRUE(server.shutdown(10s));
          EXPECT_EQ(server.stats().open, 0u);
          wg.wait();
        },
        options);
  }
}

}  // namespace
}  // namespace heddle::http::test
