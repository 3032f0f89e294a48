// The server on real sockets, over whichever back end HEDDLE_POLLER names. Clients are plain threads with blocking
// sockets, so that nothing of heddle is on their side.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>

#include <heddle/core/sched_stats.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/rate_limit.h>
#include <heddle/http/static_files.h>

#include "sockets.h"

namespace heddle::http::test {
namespace {

constexpr std::string_view kGet = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr std::string_view kGetClose = "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const std::string kHello = "200 cl=13 [Hello, World!]";
const std::string kHelloClose = "200 cl=13 close [Hello, World!]";

TEST(Loopback, serves_keep_alive_and_close) {
  for (int procs : {1, 2}) {
    with_server(procs, [](std::uint16_t port) {
      Socket s(port);
      for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(s.send(kGet));
        EXPECT_EQ(read_responses(s.read_response()), std::vector<std::string>{kHello});
      }
      s.send(kGetClose);
      EXPECT_EQ(read_responses(s.read_to_end()), std::vector<std::string>{kHelloClose});
    });
  }
}

// It must not send more; what it sends all the same is answered by an RST, which must not take the response with it.
TEST(Loopback, a_response_arrives_whole_though_the_client_breaks_its_word) {
  const std::string body(300'000, 'x');
  std::atomic<int> answered{0};
  with_server(
      2,
      [&](std::uint16_t port) {
        for (int i = 1; i <= 10; ++i) {
          Socket s(port);
          ASSERT_TRUE(s.send(kGetClose));
          while (answered.load() != i) std::this_thread::yield();
          std::this_thread::yield();  // most of it lies in the server's kernel by now, for want of room in the client's
          s.send("x");
          EXPECT_TRUE(s.read_to_end().ends_with("\r\n.\r\n0\r\n\r\n"));
        }
      },
      {},
      [&](Request&, ResponseWriter& w) {
        w.write(body);
        w.write(".");
        EXPECT_TRUE(w.flush());
        ++answered;
      });
}

TEST(Loopback, answers_pipelines_from_many_clients) {
  with_server(2, [](std::uint16_t port) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([port] {
        Socket s(port);
        std::string batch;
        std::vector<std::string> wanted;
        for (int i = 0; i < 500; ++i) {
          batch += i % 5 == 4 ? "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" : kGet;
          wanted.push_back(i % 5 == 4 ? "200 cl=3 [abc]" : kHello);
        }
        s.send(batch);
        s.finish();
        EXPECT_EQ(read_responses(s.read_to_end()), wanted);
      });
    }
    for (std::thread& t : threads) t.join();
  });
}

// The client reads nothing before it has sent all: a handler that read and wrote in turns could wait for it for ever.
TEST(Loopback, reads_and_writes_by_two_goroutines_at_once) {
  constexpr std::size_t kSize = 6 << 20;
  const std::string body = [] {
    std::string all(kSize, '\0');
    for (std::size_t i = 0; i < kSize; ++i) all[i] = static_cast<char>(i * 31 + i / 4096);
    return all;
  }();
  const std::string answer(body.rbegin(), body.rend());
  std::atomic<int> right{0};
  with_server(
      2,
      [&](std::uint16_t port) {
        Socket s(port, 4096);
        // Twice on one connection, the second one in chunks and after a 100.
        s.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(kSize) + "\r\n\r\n");
        s.send(body);
        EXPECT_TRUE(s.read_response().ends_with(answer));
        s.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
            "Connection: close\r\n\r\n");
        s.send("600000\r\n" + body + "\r\n0\r\n\r\n");
        const std::string last = s.read_to_end();
        EXPECT_TRUE(last.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
        EXPECT_TRUE(last.ends_with(answer));
      },
      {},
      [&](Request& r, ResponseWriter& w) {
        w.set_header("Content-Length", std::to_string(kSize));
        ASSERT_TRUE(w.enable_full_duplex());
        WaitGroup wg;
        wg.go([&] {
          for (std::size_t at = 0, step = 1; at < kSize; at += step) {
            step = std::min(step * 3 % 40'009 + 1, kSize - at);
            ASSERT_TRUE(w.write(std::string_view(answer).substr(at, step)));
          }
        });
        const Result<std::string> got = r.read_all(kSize);
        wg.wait();
        ASSERT_TRUE(got);
        if (*got == body) ++right;
      });
  EXPECT_EQ(right.load(), 2);
}

TEST(Loopback, carries_large_bodies_both_ways_at_once) {
  with_server(2, [](std::uint16_t port) {
    constexpr std::size_t kSize = 8 << 20;
    std::string body(kSize, '\0');
    for (std::size_t i = 0; i < kSize; ++i) body[i] = static_cast<char>(i * 31 + i / 4096);
    Socket s(port);
    std::thread sender([&] {
      s.send("POST /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: " + std::to_string(kSize) +
             "\r\n\r\n");
      s.send(body);
    });
    const std::string all = s.read_to_end();
    sender.join();
    // Unwrap the chunks by hand: read_responses() shows only the size of long bodies.
    std::string got;
    std::size_t at = all.find("\r\n\r\n") + 4;
    while (at < all.size()) {
      const std::size_t eol = all.find("\r\n", at);
      const std::size_t n = std::stoul(all.substr(at, eol - at), nullptr, 16);
      got.append(all, eol + 2, n);
      at = eol + 2 + n + 2;
    }
    EXPECT_TRUE(got == body) << "sizes " << got.size() << ' ' << body.size();
    EXPECT_EQ(all.substr(all.size() - 5), "0\r\n\r\n");
  });
}

TEST(Loopback, the_last_response_arrives_although_the_client_goes_on_sending) {
  ServerOptions options;
  options.max_body = 1000;
  with_server(
      2,
      [](std::uint16_t port) {
        for (int i = 0; i < 5; ++i) {
          Socket s(port);
          s.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n");
          std::thread sender([&] {
            s.send(std::string(4'000'000, 'x'));
            s.finish();
          });
          sender.join();  // all of it was taken, although nobody wanted it
          bool broken = false;
          const std::string all = s.read_to_end(&broken);
          EXPECT_FALSE(broken);
          EXPECT_EQ(read_responses(all), std::vector<std::string>{"413 cl=22 close [413 Content Too Large\n]"});
        }
      },
      options);
}

TEST(Loopback, survives_clients_that_vanish_at_any_point) {
  with_server(2, [](std::uint16_t port) {
    const std::string talk = std::string(kGet) +
                             "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n01234567890123456789" +
                             "GET /big?500000 HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(kGet);
    for (std::size_t i = 0; i <= talk.size(); ++i) {
      Socket s(port);
      ASSERT_TRUE(s.connected());
      s.send(std::string_view(talk).substr(0, i));
      if (i % 2 == 0) s.reset();
    }
    Socket after(port);
    after.send(kGetClose);
    EXPECT_EQ(read_responses(after.read_to_end()), std::vector<std::string>{kHelloClose});
  });
}

TEST(Loopback, a_slow_receiver_gets_everything) {
  with_server(1, [](std::uint16_t port) {
    Socket s(port, 4096);
    s.send(
        "GET /big?3000000 HTTP/1.1\r\nHost: a\r\n\r\nGET /parts?100000 HTTP/1.1\r\nHost: a\r\nConnection: "
        "close\r\n\r\n");
    EXPECT_EQ(read_responses(s.read_to_end()),
              (std::vector<std::string>{"200 chunked [size 3000000]", "200 chunked close [size 1000000]"}));
  });
}

TEST(Loopback, time_limits_hold_on_real_sockets) {
  ServerOptions options;
  options.header_timeout = 300ms;
  options.idle_timeout = 300ms;
  options.body_timeout = 300ms;
  options.write_timeout = 300ms;
  with_server(
      2,
      [](std::uint16_t port) {
        Socket newcomer(port);
        EXPECT_EQ(newcomer.read_to_end(), "");
        Socket head(port);
        head.send("GET /he");
        EXPECT_EQ(read_responses(head.read_to_end()),
                  std::vector<std::string>{"408 cl=20 close [408 Request Timeout\n]"});
        Socket idle(port);
        idle.send(kGet);
        EXPECT_EQ(read_responses(idle.read_to_end()), std::vector<std::string>{kHello});
        Socket body(port);
        body.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
        EXPECT_EQ(read_responses(body.read_to_end()),
                  std::vector<std::string>{"408 cl=20 close [408 Request Timeout\n]"});
        Socket reader(port, 4096);
        reader.send("GET /big?50000000 HTTP/1.1\r\nHost: a\r\n\r\n");
        std::this_thread::sleep_for(std::chrono::seconds(1));  // it takes nothing: that is what is tested
        EXPECT_EQ(read_responses(reader.read_to_end()).back().find("200 chunked cut"), 0u);
      },
      options);
}

// What waits in each way a request can wait is cut when the grace is over.
TEST(Loopback, shutdown_cuts_what_outlives_its_grace) {
  run([] {
    Server server(faces);
    const Result<net::Address> at = server.listen(kAnyPort);
    ASSERT_TRUE(at);
    std::atomic<int> ready_clients{0};
    std::atomic<bool> done{false};
    std::thread thread([&] {
      Socket body(at->port());
      body.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
      Socket reader(at->port(), 4096);
      reader.send("GET /big?50000000 HTTP/1.1\r\nHost: a\r\n\r\n");
      Socket head(at->port());
      head.send("GET /he");
      ready_clients = 1;
      body.read_to_end();
      head.read_to_end();
      reader.read_to_end();
      done = true;
    });
    while (ready_clients == 0 || server.stats().open != 3) sleep(1ms);
    const std::int64_t began = nanotime();
    EXPECT_FALSE(server.shutdown(300ms));
    EXPECT_LT(nanotime() - began, 20'000'000'000);  // not for ever, however busy the machine
    EXPECT_EQ(server.stats().open, 0u);
    while (!done) sleep(1ms);
    thread.join();
  });
}

// What the handler holds parks when it goes, as a user's destructor may. The connection is the last to leave.
TEST(Loopback, a_handler_that_outlives_its_server_is_freed_on_a_goroutine) {
  struct Held {
    Chan<int> gone;
    explicit Held(Chan<int> c) : gone(std::move(c)) {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
      sleep(1ms);
      gone.close();
    }
  };
  run([] {
    const Chan<int> gate = make_chan<int>();
    const Chan<int> begun = make_chan<int>();
    const Chan<int> gone = make_chan<int>();
    auto server =
        std::make_unique<Server>([gate, begun, held = std::make_shared<Held>(gone)](Request&, ResponseWriter&) {
          begun.close();
          static_cast<void>(gate.recv());
        });
    auto listener = net::StreamListener::listen(kAnyPort, server->acceptor());  // not its own: it need not shut down
    ASSERT_TRUE(listener) << listener.error().message();
    Socket s((*listener)->local_address().port());
    ASSERT_TRUE(s.send(kGetClose));
    static_cast<void>(begun.recv());
    (*listener)->close();
    server.reset();
    gate.close();
    EXPECT_FALSE(gone.recv());
  });
}

// The kernel forgets who they were, and a limit by address must not.
TEST(Loopback, clients_that_reset_behind_their_request_are_limited_as_others) {
  for (const std::size_t per_ip : {ServerOptions{}.max_connections_per_ip, std::size_t{0}}) {
    std::atomic<int> served{0};
    const Handler handler =
        rate_limit({.requests = 1, .per = 1h, .burst = 1})([&](Request&, ResponseWriter&) { ++served; });
    with_server(
        2,
        [](std::uint16_t port) {
          for (int i = 0; i < 200; ++i) {
            Socket s(port);
            s.send(kGet);
            s.reset();
          }
        },
        {.max_connections_per_ip = per_ip}, handler);
    EXPECT_LE(served.load(), 1);
  }
}

// All connections of a worker come and go, and the time that it kept for them passes.
TEST(Loopback, a_server_without_connections_sleeps) {
  const auto tries = [] {
    std::uint64_t n = 0;
    for (const ProcStats& p : sched_stats().procs) n += p.steal_tries;
    return n;
  };
  RunOptions options;
  options.procs = 2;
  run(
      [&] {
        Server server(faces, {.header_timeout = 20ms, .idle_timeout = 20ms});
        const Result<net::Address> at = server.listen(kAnyPort);
        ASSERT_TRUE(at) << at.error().message();
        on_a_thread([&] {
          for (int i = 0; i < 8; ++i) {
            Socket s(at->port());
            s.send(kGet);
            s.read_response();
          }
        });
        while (server.stats().open != 0) sleep(1ms);
        sleep(60ms);  // past all moments that were ever set
        const std::uint64_t before = tries();
        sleep(50ms);  // what is counted in it must be little, on a slow machine all the more
        EXPECT_LT(tries() - before, 1000u);  // a worker that does not sleep makes some hundred thousand
        EXPECT_TRUE(server.shutdown(20s));
      },
      options);
}

// Stop under load, start again on the same port at once: clients in the middle of a conversation lose no request, and
// the port is never taken.
TEST(Loopback, shutdown_under_load_drops_no_request_and_frees_the_port) {
  run([] {
    std::uint16_t port = 0;
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> served{0};
    std::atomic<std::uint64_t> dropped{0};
    std::vector<std::thread> threads;
    Server* server = new Server(faces);
    {
      const Result<net::Address> at = server->listen(kAnyPort);
      ASSERT_TRUE(at);
      port = at->port();
    }
    std::atomic<int> running{6};
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&] {
        while (!stop) {
          Socket s(port);
          if (!s.connected()) continue;
          bool talked = false;  // a connection that nobody accepted yet dies with the listener: no request was taken
          for (bool last = false; !last && !stop;) {
            if (!s.send(kGet)) {
              if (talked) ++dropped;
              break;
            }
            const std::string response = s.read_response();
            if (response.empty()) {
              if (talked) ++dropped;
              break;
            }
            talked = true;
            ++served;
            last = response.find("Connection: close") != std::string::npos;
          }
        }
        --running;
      });
    }
    for (int round = 0; round < 8; ++round) {
      const std::uint64_t target = served + 300;
      while (served < target) sleep(1ms);
      EXPECT_TRUE(server->shutdown(10s));
      delete server;
      server = new Server(faces);
      const Result<net::Address> at = server->listen(*net::Address::parse("127.0.0.1:" + std::to_string(port)));
      ASSERT_TRUE(at) << at.error().message();
    }
    stop = true;
    while (running != 0) sleep(1ms);
    EXPECT_TRUE(server->shutdown(10s));
    delete server;
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(dropped, 0u);
  });
}

TEST(Loopback, files_arrive_whole_also_by_clients_that_vanish_or_read_late) {
  std::string folder = (std::filesystem::temp_directory_path() / "heddle-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  std::string text(4 << 20, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31 + i / 4096);
  std::ofstream(folder + "/f", std::ios::binary) << text;
  const Handler files = *static_files(folder);
  RunOptions options;
  options.procs = 2;
  run(
      [&] {
        const std::size_t before = open_descriptors();
        Server server(files);
        const Result<net::Address> at = server.listen(kAnyPort);
        ASSERT_TRUE(at) << at.error().message();
        const std::uint16_t port = at->port();
        on_a_thread([&] {
          std::vector<std::thread> threads;
          for (int t = 0; t < 6; ++t) {
            threads.emplace_back([&, t] {
              const std::string request = "GET /f HTTP/1.1\r\nHost: a\r\nRange: bytes=" + std::to_string(t * 1000) +
                                          "-\r\n" + (t % 2 == 0 ? "Connection: close\r\n\r\n" : "\r\n");
              Socket s(port, t == 0 ? 4096 : 0);
              ASSERT_TRUE(s.send(request));
              if (t == 5) return s.reset();
              if (t % 2 == 1) {
                const std::string first = s.read_response();
                ASSERT_TRUE(first.ends_with(std::string_view(text).substr(static_cast<std::size_t>(t) * 1000)));
                s.finish();
                EXPECT_EQ(s.read_to_end(), "");
                return;
              }
              const std::string all = s.read_to_end();
              const std::string_view body = std::string_view(all).substr(all.find("\r\n\r\n") + 4);
              EXPECT_TRUE(body == std::string_view(text).substr(static_cast<std::size_t>(t) * 1000)) << body.size();
            });
          }
          for (std::thread& t : threads) t.join();
        });
        EXPECT_TRUE(server.shutdown(20s));
        for (int i = 0; i < 2000 && open_descriptors() > before; ++i) sleep(1ms);
        EXPECT_LE(open_descriptors(), before);
      },
      options);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace heddle::http::test
