#include <heddle/core/wait_group.h>
#include <heddle/http/internal/siphash.h>
#include <heddle/http/rate_limit.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "raw_ask.h"

namespace heddle::http::test {
namespace {

using namespace std::string_literals;

const Handler kIn = [](Request&, ResponseWriter& w) { w.write("in"); };

TEST(RateLimit, hash_is_siphash) {
  std::string text;
  for (char c = 0; c < 15; ++c) text += c;
  constexpr std::uint64_t k0 = 0x0706050403020100;
  constexpr std::uint64_t k1 = 0x0f0e0d0c0b0a0908;
  EXPECT_EQ(siphash(k0, k1, text), 0xa129ca6149be45e5);  // the paper's
  EXPECT_EQ(siphash(k0, k1, ""), 0x726fdb47dd0e0e31);
}

TEST(RateLimit, gives_a_burst_and_then_the_rate) {
  const FakeTime time;
  RateLimiter limiter({.requests = 10, .per = 1s, .burst = 3});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limiter.take("a"), std::nullopt);
  EXPECT_EQ(limiter.take("a"), 100ms);
  EXPECT_EQ(limiter.take("a"), 100ms);  // asking costs nothing
  EXPECT_EQ(limiter.take("b"), std::nullopt);
  FakeTime::pass(99ms);
  EXPECT_EQ(limiter.take("a"), 1ms);
  FakeTime::pass(1ms);
  EXPECT_EQ(limiter.take("a"), std::nullopt);
  EXPECT_EQ(limiter.take("a"), 100ms);
  FakeTime::pass(1h);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limiter.take("a"), std::nullopt);
  EXPECT_EQ(limiter.take("a"), 100ms);
}

TEST(RateLimit, remembers_so_many_keys_and_keeps_the_busiest) {
  const FakeTime time;
  RateLimiter limiter({.requests = 1, .per = 1s, .burst = 5, .max_keys = 8});  // one set
  for (int i = 0; i < 5; ++i) EXPECT_EQ(limiter.take("busy"), std::nullopt);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(limiter.take("new " + std::to_string(i)), std::nullopt);
  EXPECT_NE(limiter.take("busy"), std::nullopt);
  FakeTime::pass(2s);  // all but "busy" are full again
  for (int i = 0; i < 7; ++i) EXPECT_EQ(limiter.take("once " + std::to_string(i)), std::nullopt);
  EXPECT_EQ(limiter.take("busy"), std::nullopt);
  EXPECT_EQ(limiter.take("busy"), std::nullopt);
  EXPECT_EQ(limiter.take("busy"), 1s);
}

TEST(RateLimit, counts_right_from_many_goroutines) {
  const FakeTime time;
  std::atomic<int> let = 0;
  run([&] {
    RateLimiter limiter({.requests = 1, .per = 1s, .burst = 100});
    WaitGroup all;
    for (int g = 0; g < 8; ++g) {
      all.go([&] {
        for (int i = 0; i < 50; ++i) let += !limiter.take("k");
      });
    }
    all.wait();
  });
  EXPECT_EQ(let, 100);
}

TEST(RateLimit, answers_429_with_retry_after_by_key) {
  const FakeTime time;
  auto by_header = [](const Request& r) { return std::string(r.header("K").value_or("")); };
  const Handler h = rate_limit({.requests = 2, .per = 3s, .burst = 1, .key = by_header})(kIn);
  const std::string in = "200 cl=2 [in]";
  EXPECT_EQ(ask(h, get("K: a\r\n") + get("K: a\r\n") + get("K: b\r\n") + get() + get()),
            (std::vector<std::string>{in, "429 cl=22 Retry-After=2 [429 Too Many Requests\n]", in, in, in}));
  FakeTime::pass(1500ms);
  EXPECT_EQ(ask(h, get("K: a\r\n")), std::vector<std::string>{in});
  // Without a key: by the peer.
  const Handler by_peer = rate_limit({.requests = 1, .burst = 1})(kIn);
  EXPECT_EQ(ask(by_peer, get() + get()).at(1).substr(0, 3), "429");
}

TEST(RateLimit, an_empty_key_has_no_limit) {
  const Handler free =
      rate_limit({.requests = 1, .burst = 1, .key = [](const Request&) { return std::string(); }})(kIn);
  EXPECT_EQ(ask(free, get() + get()), (std::vector<std::string>(2, "200 cl=2 [in]")));
}

TEST(RateLimit, clients_are_networks) {
  EXPECT_EQ(client_network("192.0.2.1:1"), "\xc0\x00\x02\x01"s);
  EXPECT_EQ(client_network("192.0.2.1:1"), client_network("192.0.2.1:65535"));
  EXPECT_NE(client_network("192.0.2.1:1"), client_network("192.0.2.2:1"));
  EXPECT_EQ(client_network("192.0.2.1:1"), client_network("[::ffff:192.0.2.1]:1"));
  EXPECT_EQ(client_network("[2001:db8:1:2:3::4]:5"), client_network("[2001:db8:1:2:ffff::]:1"));
  EXPECT_NE(client_network("[2001:db8:1:2::]:5"), client_network("[2001:db8:1:3::]:5"));
  EXPECT_EQ(client_network("[2001:db8:1:2::]:5").size(), 8u);
  EXPECT_EQ(client_network("memory:1"), "memory:1");
  EXPECT_EQ(client_network(""), "");
  EXPECT_EQ(client_network("unix:uid=1000,pid=4711"), "") << "a proxy, or many";
}

TEST(RateLimit, refuses_options_of_nothing) {
  EXPECT_THROW(RateLimiter({.requests = 0}), std::invalid_argument);
  EXPECT_THROW(RateLimiter({.per = 0s}), std::invalid_argument);
  EXPECT_THROW(RateLimiter({.burst = 0}), std::invalid_argument);
  EXPECT_THROW(RateLimiter({.requests = 1, .per = 24h * 365 * 100, .burst = 100}), std::invalid_argument);
  EXPECT_THROW(RateLimiter({.requests = 1, .per = Duration::max(), .burst = 1}), std::invalid_argument);
  EXPECT_THROW(RateLimiter({.max_keys = std::size_t{1} << 40}), std::invalid_argument);
  EXPECT_THROW(RateLimiter({.max_keys = ~std::size_t{0}}), std::invalid_argument);
}

}  // namespace
}  // namespace heddle::http::test
