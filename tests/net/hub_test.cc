// Hub: who gets what, in which order, and what happens to those who do not keep up.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <heddle/core/test.h>
#include <heddle/net/codec.h>
#include <heddle/net/hub.h>
#include <heddle/net/message_conn.h>

#include "net_test_util.h"
#include "pipe_transport.h"

namespace heddle::net {
namespace {

using namespace test;
namespace kit = heddle::test;

using Texts = Hub<std::string>;

template <class Body>
void explore(std::uint64_t most, Body body) {
  kit::explore(kSanitized != 0 ? most / 10 + 1 : most, body, {.failed = [] { return testing::Test::HasFailure(); }});
}

std::vector<std::string> all_of(const RecvChan<Texts::Message>& in) {
  std::vector<std::string> all;
  while (const auto message = in.try_recv()) all.push_back(**message);
  return all;
}

TEST(Hub, all_subscribers_get_the_same_object) {
  kit::run([] {
    Texts hub;
    auto one = hub.subscribe();
    auto two = hub.subscribe();
    EXPECT_EQ(hub.broadcast("hello"), 2u);
    const auto first = one.in().recv();
    const auto second = two.in().recv();
    ASSERT_TRUE(first && second);
    EXPECT_EQ(**first, "hello");
    EXPECT_EQ(first->get(), second->get());
    EXPECT_EQ(hub.stats().sent, 2u);
    EXPECT_EQ(hub.stats().subscribers, 2u);
    EXPECT_EQ(hub.stats().broadcasts, 1u);
  });
}

TEST(Hub, who_has_left_gets_nothing_and_its_queue_is_closed) {
  kit::run([] {
    Texts hub;
    auto stays = hub.subscribe();
    RecvChan<Texts::Message> in;
    {
      auto leaves = hub.subscribe();
      in = leaves.in();
      EXPECT_EQ(hub.broadcast("one"), 2u);
      EXPECT_TRUE(leaves.active());
    }
    EXPECT_EQ(hub.broadcast("two"), 1u);
    EXPECT_EQ(**in.recv(), "one");
    EXPECT_FALSE(in.recv());
    EXPECT_EQ(all_of(stays.in()), (std::vector<std::string>{"one", "two"}));
    stays.unsubscribe();
    stays.unsubscribe();
    EXPECT_FALSE(stays.active());
    EXPECT_EQ(hub.stats().subscribers, 0u);
    EXPECT_EQ(hub.broadcast("three"), 0u);
  });
}

TEST(Hub, a_slow_subscriber_misses_what_its_queue_has_no_room_for) {
  kit::run([] {
    Texts hub;
    auto slow = hub.subscribe({.capacity = 2});
    auto quick = hub.subscribe({.capacity = 10});
    for (const char* text : {"a", "b", "c", "d"}) hub.broadcast(text);
    EXPECT_EQ(all_of(slow.in()), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(all_of(quick.in()), (std::vector<std::string>{"a", "b", "c", "d"}));
    EXPECT_EQ(slow.missed(), 2u);
    EXPECT_EQ(quick.missed(), 0u);
    EXPECT_EQ(hub.stats().missed, 2u);
    hub.broadcast("e");
    EXPECT_EQ(all_of(slow.in()), (std::vector<std::string>{"e"}));
  });
}

TEST(Hub, a_slow_subscriber_may_be_put_out) {
  kit::run([] {
    Texts hub;
    int left = 0;
    auto slow = hub.subscribe({.slow = Slow::kLeaves, .capacity = 2, .on_left = [&] { ++left; }});
    auto quick = hub.subscribe({.capacity = 10});
    for (const char* text : {"a", "b", "c", "d"}) hub.broadcast(text);
    EXPECT_EQ(left, 1);
    EXPECT_FALSE(slow.active());
    EXPECT_EQ(all_of(slow.in()), (std::vector<std::string>{"a", "b"}));
    EXPECT_FALSE(slow.in().recv());  // closed
    EXPECT_EQ(all_of(quick.in()).size(), 4u);
    EXPECT_EQ(hub.stats().left, 1u);
    EXPECT_EQ(hub.stats().subscribers, 1u);
  });
}

TEST(Hub, a_slow_subscriber_may_be_waited_for) {
  explore(200, [] {
    Texts hub;
    auto slow = hub.subscribe({.slow = Slow::kWaits, .capacity = kit::random(3)});
    WaitGroup wg;
    wg.go([&] {
      for (int i = 0; i < 10; ++i) EXPECT_EQ(hub.broadcast(std::to_string(i)), 1u);
      hub.close();
    });
    int i = 0;
    for (const Texts::Message& message : slow.in()) EXPECT_EQ(*message, std::to_string(i++));
    EXPECT_EQ(i, 10);
    wg.wait();
    EXPECT_EQ(hub.stats().missed, 0u);
  });
}

TEST(Hub, who_is_waited_for_may_leave) {
  explore(300, [] {
    Texts hub;
    std::optional<Texts::Subscription> slow = hub.subscribe({.slow = Slow::kWaits, .capacity = 1});
    WaitGroup wg;
    for (int i = 0; i < 3; ++i) {
      wg.go([&] {
        hub.broadcast("one");
        hub.broadcast("two");
      });
    }
    if (kit::random(2) == 0) kit::wait();
    slow.reset();
    wg.wait();
    EXPECT_EQ(hub.stats().missed, 0u);  // it did not miss them: it was gone
  });
}

TEST(Hub, the_wait_for_a_slow_subscriber_can_be_called_off) {
  kit::run([] {
    Texts hub;
    auto slow = hub.subscribe({.slow = Slow::kWaits, .capacity = 1});
    auto quick = hub.subscribe();
    hub.broadcast("one");
    const TimePoint start = now();
    EXPECT_EQ(hub.broadcast(with_timeout({}, 3s).ctx, std::make_shared<const std::string>("two")), 1u);
    EXPECT_EQ(now() - start, 3s);
    EXPECT_EQ(slow.missed(), 1u);
    EXPECT_EQ(all_of(quick.in()).size(), 2u);
  });
}

TEST(Hub, a_slow_subscriber_holds_up_neither_joining_nor_leaving) {
  explore(100, [] {
    Texts hub;
    auto slow = hub.subscribe({.slow = Slow::kWaits, .capacity = 0});
    WaitGroup wg;
    wg.go([&] { hub.broadcast("waits"); });
    kit::wait();
    auto other = hub.subscribe();
    other.unsubscribe();
    EXPECT_EQ(hub.stats().subscribers, 1u);
    EXPECT_EQ(**slow.in().recv(), "waits");
    wg.wait();
  });
}

TEST(Hub, each_gets_the_messages_of_one_broadcaster_in_order) {
  explore(300, [] {
    Texts hub;
    WaitGroup wg;
    for (int s = 0; s < 3; ++s) {
      wg.go([&hub, s] {
        auto mine = hub.subscribe({.slow = s == 0 ? Slow::kWaits : Slow::kMisses, .capacity = 1 + kit::random(3)});
        int last[2] = {-1, -1};
        for (std::uint64_t most = kit::random(10); most > 0; --most) {
          const auto message = mine.in().recv();
          if (!message) return;
          const int from = (**message)[0] - 'a';
          const int n = std::stoi((*message)->substr(1));
          EXPECT_GT(n, last[from]);
          if (s == 0 && last[from] >= 0) {
            EXPECT_EQ(n, last[from] + 1);
          }
          last[from] = n;
        }
      });
    }
    for (const char* from : {"a", "b"}) {
      wg.go([&hub, from] {
        for (int i = 0; i < 8; ++i) hub.broadcast(from + std::to_string(i));
      });
    }
    kit::wait();
    hub.close();
    wg.wait();
    EXPECT_EQ(hub.stats().subscribers, 0u);
  });
}

TEST(Hub, nothing_is_sent_to_a_callers_queue_after_it_has_left) {
  explore(500, [] {
    Texts hub;
    const Chan<Texts::Message> queue = make_chan<Texts::Message>(kit::random(2));
    auto mine = hub.subscribe(queue, {.slow = kit::random(2) == 0 ? Slow::kWaits : Slow::kMisses});
    EXPECT_FALSE(mine.in());
    WaitGroup wg;
    for (int i = 0; i < 2; ++i) wg.go([&] { hub.broadcast("x"); });
    static_cast<void>(queue.try_recv());
    mine.unsubscribe();
    queue.close();  // a send would panic
    wg.wait();
    EXPECT_EQ(hub.stats().left, 0u);
  });
}

TEST(Hub, who_closes_its_queue_has_left) {
  explore(300, [] {
    Texts hub;
    const Chan<Texts::Message> queue = make_chan<Texts::Message>(0);
    int left = 0;
    auto mine = hub.subscribe(queue, {.slow = Slow::kWaits, .on_left = [&] { ++left; }});
    auto other = hub.subscribe();
    WaitGroup wg;
    for (int i = 0; i < 2; ++i) wg.go([&] { hub.broadcast("x"); });
    if (kit::random(2) == 0) kit::wait();
    queue.close();
    wg.wait();
    EXPECT_EQ(left, 1);
    EXPECT_FALSE(mine.active());
    EXPECT_EQ(all_of(other.in()).size(), 2u);
    EXPECT_EQ(hub.stats().left, 1u);
  });
}

TEST(Hub, its_end_ends_all_subscriptions) {
  explore(100, [] {
    std::optional<Texts> hub(std::in_place);
    auto mine = hub->subscribe();
    hub->broadcast("last");
    hub.reset();
    EXPECT_EQ(**mine.in().recv(), "last");
    EXPECT_FALSE(mine.in().recv());
    EXPECT_FALSE(mine.active());
    mine.unsubscribe();
  });
}

TEST(Hub, who_subscribes_after_the_end_finds_it) {
  kit::run([] {
    Texts hub;
    hub.close();
    auto mine = hub.subscribe();
    EXPECT_FALSE(mine.active());
    EXPECT_FALSE(mine.in().recv());
    EXPECT_EQ(hub.broadcast("x"), 0u);
  });
}

TEST(Hub, a_subscription_moves) {
  kit::run([] {
    Texts hub;
    Texts::Subscription kept;
    EXPECT_FALSE(kept.active());
    EXPECT_FALSE(kept.in());
    {
      auto made = hub.subscribe();
      kept = std::move(made);
    }
    EXPECT_EQ(hub.broadcast("x"), 1u);
    EXPECT_EQ(all_of(kept.in()).size(), 1u);
  });
}

TEST(Hub, messages_go_straight_into_connections) {
  explore(100, [] {
    using Shared = MessageConn<SharedCodec<LineCodec>>;
    auto [near_a, far_a] = PipeTransport::pair();
    auto [near_b, far_b] = PipeTransport::pair();
    Texts hub;
    Shared a(*near_a);
    Shared b(*near_b);
    auto in_a = hub.subscribe(a.out());
    auto in_b = hub.subscribe(b.out());
    for (int i = 0; i < 3; ++i) EXPECT_EQ(hub.broadcast("line " + std::to_string(i)), 2u);
    EXPECT_EQ(far_a->read_some(21), "line 0\nline 1\nline 2\n");
    EXPECT_EQ(far_b->read_some(21), "line 0\nline 1\nline 2\n");
  });
}

}  // namespace
}  // namespace heddle::net
