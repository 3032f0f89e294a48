// Names: what is looked up and what is not, sharing, caching, leaving early, and failures by name. The lookup is a fake one that
// the tests hold back as they like, except where libc is asked for what needs no network.
#include <heddle/net/resolve.h>

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#include "net_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

// Lookups wait, on their helper threads, until the gate is open.
struct Gate {
  void wait() {
    std::unique_lock lock(mutex);
    ++waiting;
    changed.notify_all();
    changed.wait(lock, [this] { return open; });
    --waiting;
  }
  void let_in() {
    const std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
  int count() {
    const std::lock_guard lock(mutex);
    return waiting;
  }
  std::mutex mutex;
  std::condition_variable changed;
  int waiting = 0;
  bool open = false;
};

void until_waiting(Gate& gate, int n) {
  const TimePoint limit = patience();
  while (gate.count() < n) {
    ASSERT_LT(now(), limit);
    sleep(200us);
  }
}

std::vector<std::string> texts(const Result<std::vector<Address>>& answer) {
  std::vector<std::string> out;
  if (!answer) return {answer.error().message()};
  for (const Address& address : *answer) out.push_back(address.to_string());
  return out;
}

using Texts = std::vector<std::string>;
const Context kAlways;

Result<std::vector<Address>> one_address(const char* text = "192.0.2.7:0") {
  return std::vector<Address>{*Address::parse(text)};
}

TEST(Resolve, numbers_and_localhost_are_not_looked_up) {
  with_procs(1, [] {
    std::atomic<int> lookups{0};
    Resolver resolver({.lookup = [&](const std::string&) {
      lookups.fetch_add(1);
      return one_address();
    }});
    EXPECT_EQ(texts(resolver.resolve(kAlways, "192.0.2.1", 80)), Texts{"192.0.2.1:80"});
    EXPECT_EQ(texts(resolver.resolve(kAlways, "2001:db8::1", 80)), Texts{"[2001:db8::1]:80"});
    EXPECT_EQ(texts(resolver.resolve(kAlways, "[2001:db8::1]", 80)), Texts{"[2001:db8::1]:80"});
    for (const char* name : {"localhost", "LOCALHOST", "localhost.", "db.localhost"}) {
      EXPECT_EQ(texts(resolver.resolve(kAlways, name, 80)), (Texts{"[::1]:80", "127.0.0.1:80"})) << name;
    }
    EXPECT_EQ(lookups.load(), 0);
  });
}

TEST(Resolve, what_cannot_be_a_name_is_refused) {
  with_procs(1, [] {
    Resolver resolver({.lookup = [](const std::string&) { return one_address(); }});
    const std::string nul("a\0b", 3);
    const std::string long_one(255, 'a');
    for (const std::string& host : {std::string(), std::string("a b"), std::string("a\n"), nul, long_one,
                                    std::string("1:2"), std::string("[::1"), std::string("a/b"), std::string(":::")}) {
      const auto answer = resolver.resolve(kAlways, host, 80);
      ASSERT_FALSE(answer) << host;
      EXPECT_EQ(answer.error().code, Code::kInvalid) << host;
    }
  });
}

TEST(Resolve, many_who_want_one_name_share_one_lookup) {
  Gate gate;
  std::atomic<int> lookups{0};
  with_procs(2, [&] {
    Resolver resolver({.lookup = [&](const std::string& host) {
      lookups.fetch_add(1);
      EXPECT_EQ(host, "db.example");
      gate.wait();
      return one_address();
    }});
    std::atomic<int> asked{0};
    WaitGroup wg;
    for (int i = 0; i < 50; ++i) {
      wg.go([&, i] {
        asked.fetch_add(1);
        const auto answer = resolver.resolve(kAlways, i % 2 == 0 ? "db.example" : "DB.example", 5432);
        EXPECT_EQ(texts(answer), Texts{"192.0.2.7:5432"});
      });
    }
    until_waiting(gate, 1);
    while (asked.load() < 50) gosched();
    gate.let_in();
    wg.wait();
  });
  EXPECT_EQ(lookups.load(), 1);  // a latecomer finds the cache
}

TEST(Resolve, who_leaves_early_leaves_the_lookup_behind_and_others_get_its_answer) {
  Gate gate;
  with_procs(2, [&] {
    Resolver resolver({.lookup = [&](const std::string&) {
      gate.wait();
      return one_address();
    }});
    auto [ctx, cancel] = with_cancel(Context::background());
    WaitGroup wg;
    wg.go([&, &ctx = ctx] {
      EXPECT_EQ(resolver.resolve(ctx, "slow.example", 1).error().code, Code::kCanceled);
      EXPECT_EQ(resolver.resolve(ctx, "slow.example", 1).error().code, Code::kCanceled);
    });
    until_waiting(gate, 1);
    EXPECT_EQ(resolver.resolve(kAlways, "slow.example", 1, now() + 5ms).error().code, Code::kTimeout);
    cancel();
    wg.wait();
    WaitGroup stays;
    stays.go([&] { EXPECT_EQ(texts(resolver.resolve(kAlways, "slow.example", 1)), Texts{"192.0.2.7:1"}); });
    gosched();
    gate.let_in();
    stays.wait();
  });
}

TEST(Resolve, a_resolver_may_go_while_it_looks_up) {
  Gate gate;
  with_procs(2, [&] {
    auto kept = std::make_shared<int>();
    const std::weak_ptr<int> in_use = kept;
    {
      Resolver resolver({.lookup = [&gate, kept = std::move(kept)](const std::string&) {
        gate.wait();
        return one_address();
      }});
      EXPECT_EQ(resolver.resolve(kAlways, "slow.example", 1, now() + 1ms).error().code, Code::kTimeout);
      until_waiting(gate, 1);
    }
    EXPECT_FALSE(in_use.expired());
    gate.let_in();
    while (!in_use.expired()) sleep(200us);
  });
}

// Named functions: abandoned.cc knows by them what is left behind.
void abandoned_waiter(Resolver& resolver) { static_cast<void>(resolver.resolve(kAlways, "slow.example", 1)); }

void abandoned_lookup(const std::shared_ptr<Gate>& gate, bool has_begun) {
  auto resolver = std::make_shared<Resolver>(ResolverOptions{.lookup = [gate](const std::string&) {
    gate->wait();
    return one_address();
  }});
  go([resolver] { abandoned_waiter(*resolver); });
  const auto left = resolver->resolve(kAlways, "slow.example", 1, now() + 1ms);
  EXPECT_EQ(left.error().code, Code::kTimeout);
  if (has_begun) until_waiting(*gate, 1);
}

TEST(Resolve, a_run_may_end_while_a_lookup_is_under_way) {
  for (int i = 0; i < 12; ++i) {
    const auto gate = std::make_shared<Gate>();
    std::atomic<bool> ending{false};
    std::thread opener([&, gate] {
      while (!ending.load()) std::this_thread::yield();
      gate->let_in();
    });
    with_procs(1 + i % 2, [&] {
      abandoned_lookup(gate, i % 3 != 0);
      ending = true;
    });
    opener.join();
  }
}

TEST(Resolve, who_throws_in_a_lookup_throws_to_all_who_wait) {
  Gate gate;
  with_procs(2, [&] {
    Resolver resolver({.lookup = [&](const std::string&) -> Result<std::vector<Address>> {
      gate.wait();
      throw std::runtime_error("test");
    }});
    WaitGroup wg;
    for (int i = 0; i < 3; ++i) {
      wg.go([&] { EXPECT_THROW(static_cast<void>(resolver.resolve(kAlways, "a.example", 1)), std::runtime_error); });
    }
    until_waiting(gate, 1);
    gate.let_in();
    wg.wait();
    EXPECT_THROW(static_cast<void>(resolver.resolve(kAlways, "a.example", 1)), std::runtime_error);  // and again
  });
}

TEST(Resolve, a_name_service_that_hangs_is_not_asked_for_ever_more_names) {
  Gate gate;
  with_procs(2, [&] {
    Resolver resolver({.lookup =
                           [&](const std::string&) {
                             gate.wait();
                             return one_address();
                           },
                       .max_lookups = 1,
                       .max_names = 10});
    WaitGroup wg;
    std::atomic<int> refused{0};
    for (int i = 0; i < 16; ++i) {
      wg.go([&, i] {
        const auto answer = resolver.resolve(kAlways, "n" + std::to_string(i) + ".example", 1);
        if (answer) return;
        EXPECT_EQ(answer.error().code, Code::kLimit) << answer.error().message();
        refused.fetch_add(1);
      });
    }
    while (refused.load() < 6) gosched();
    gate.let_in();
    wg.wait();
    EXPECT_EQ(refused.load(), 6);
    EXPECT_TRUE(resolver.resolve(kAlways, "later.example", 1));
  });
}

TEST(Resolve, no_more_lookups_run_at_once_than_allowed) {
  Gate gate;
  std::atomic<int> most{0}, running{0};
  with_procs(2, [&] {
    Resolver resolver({.lookup =
                           [&](const std::string&) {
                             const int n = running.fetch_add(1) + 1;
                             int seen = most.load();
                             while (n > seen && !most.compare_exchange_weak(seen, n)) {
                             }
                             gate.wait();
                             running.fetch_sub(1);
                             return one_address();
                           },
                       .max_lookups = 3});
    WaitGroup wg;
    for (int i = 0; i < 12; ++i) {
      wg.go([&, i] { EXPECT_TRUE(resolver.resolve(kAlways, "n" + std::to_string(i) + ".example", 1)); });
    }
    until_waiting(gate, 3);
    gate.let_in();
    wg.wait();
  });
  EXPECT_EQ(most.load(), 3);
}

TEST(Resolve, answers_are_kept_for_a_while_and_failures_are_not) {
  std::atomic<int> lookups{0};
  std::atomic<bool> fails{true};
  with_procs(1, [&] {
    Resolver resolver({.lookup = [&](const std::string& host) -> Result<std::vector<Address>> {
                         lookups.fetch_add(1);
                         if (fails.load()) return std::unexpected(Error{Code::kUnreachable, 0, "test"});
                         if (host == "none.example") return std::vector<Address>{};
                         return one_address();
                       },
                       .keep = 50ms,
                       .max_kept = 2});
    for (int i = 1; i <= 2; ++i) {
      EXPECT_EQ(resolver.resolve(kAlways, "a.example", 1).error().code, Code::kUnreachable);
      EXPECT_EQ(lookups.load(), i);
    }
    fails = false;
    EXPECT_EQ(resolver.resolve(kAlways, "none.example", 1).error().code, Code::kNotFound);
    lookups = 0;
    const TimePoint before = now();
    EXPECT_TRUE(resolver.resolve(kAlways, "a.example", 1));
    EXPECT_TRUE(resolver.resolve(kAlways, "a.example", 2));
    if (now() - before < 50ms) {
      EXPECT_EQ(lookups.load(), 1);  // unless the machine stood still meanwhile
    }
    sleep(51ms);
    lookups = 0;
    EXPECT_TRUE(resolver.resolve(kAlways, "a.example", 1));
    EXPECT_EQ(lookups.load(), 1);
    EXPECT_TRUE(resolver.resolve(kAlways, "b.example", 1));
    EXPECT_TRUE(resolver.resolve(kAlways, "c.example", 1));  // the third: the oldest goes
    lookups = 0;
    EXPECT_TRUE(resolver.resolve(kAlways, "a.example", 1));
    EXPECT_EQ(lookups.load(), 1);
  });
}

TEST(Resolve, lookups_that_a_run_left_behind_do_not_concern_the_next) {
  for (int i = 0; i < 3; ++i) {
    with_procs(2, [] { EXPECT_TRUE(resolve(kAlways, "localhost", 1)); });
  }
}

TEST(Resolve, libc_knows_what_a_name_is_and_that_some_are_not) {
  ::setenv("RES_OPTIONS", "timeout:1 attempts:1", 1);  // where packets get lost, the run's end waits for it
  with_procs(1, [] {
    // ".invalid" exists nowhere (RFC 6761 s6.4). Without a network the name service may only say that it failed.
    const auto answer = resolve(kAlways, "no-such-host.invalid", 80, patience());
    ASSERT_FALSE(answer);
    EXPECT_TRUE(answer.error().code == Code::kNotFound || answer.error().code == Code::kUnreachable ||
                answer.error().code == Code::kProtocol || answer.error().code == Code::kTimeout)
        << answer.error().message();
  });
}

TEST(Resolve, host_and_port_are_told_apart) {
  const auto shown = [](const char* text) {
    const Result<HostPort> out = split_host_port(text);
    return out ? out->host + "|" + std::to_string(out->port) : std::string("-");
  };
  EXPECT_EQ(shown("example.org:80"), "example.org|80");
  EXPECT_EQ(shown("[::1]:65535"), "::1|65535");
  EXPECT_EQ(shown("192.0.2.1:0"), "192.0.2.1|0");
  for (const char* text : {"", ":80", "a", "a:", "a:65536", "a:-1", "a:http", "::1:80", "[::1:80", "[]:80", "a: 80"}) {
    EXPECT_EQ(shown(text), "-") << text;
  }
}

}  // namespace
}  // namespace heddle::net
