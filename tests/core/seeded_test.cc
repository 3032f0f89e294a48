// Properties of channels, select, close and cancel, held by programs that are drawn from seeds themselves, under schedules
// that are drawn from the same seeds (core/test.h); and by larger ones on two Ps with preemption.
//
// A program: some channels of small capacities; senders, receivers and goroutines that do both, each a row of drawn
// operations; on each channel one that drains it, so that no sender need wait for ever; goroutines that close channels,
// and one that cancels, at drawn moments. The properties:
//
//   conservation   a parcel of which a send said that it went arrives once, or is in a buffer at the end; no other arrives
//   order          what one goroutine sent on one channel reaches each receiver in that order
//   progress       everybody comes to his end (else the kit reports a deadlock, or goroutines that are left)
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/panic.h>
#include <heddle/core/run.h>
#include <heddle/core/select.h>
#include <heddle/core/test.h>
#include <heddle/core/wait_group.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "preemption.h"
#include "traffic.h"

namespace heddle {
namespace {

using test::Parcel;
using test::Random;

#if defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kSeeds = 300;  // TSan's fibers: a switch costs 50 times as much
#elif defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t kSeeds = 2'000;  // a fifth of the speed
#else
constexpr std::uint64_t kSeeds = 10'000;
#endif

// What programs are made of.
struct Mix {
  bool selects = true;
  bool closes = true;  // also beside senders, whom it makes panic
  bool cancels = true;
  std::uint64_t ops = 6;
};

// Who sent it (16 bits), on which channel (8 bits), his how manieth (40 bits).
std::uint64_t number_of(std::uint64_t sender, std::size_t chan, std::uint64_t n) {
  return sender << 48 | std::uint64_t{chan} << 40 | n;
}
std::uint64_t line_of(std::uint64_t number) { return number >> 40; }

// What a goroutine has done, for the audit at the end.
struct Log {
  std::vector<std::uint64_t> sent;
  std::vector<std::uint64_t> got;
  int damaged = 0;
};

struct World {
  explicit World(std::uint64_t seed, const Mix& m) : mix(m), random(seed) {
    for (std::uint64_t n = 1 + random.below(4); n > 0; --n) {
      chans.push_back(make_chan<Parcel>(random.below(2) == 0 ? 0 : random.below(4)));
      drained_by_close.push_back(random.below(2) == 0);
    }
  }
  const Mix mix;
  Random random;  // the builder's; each goroutine has its own
  std::vector<Chan<Parcel>> chans;
  std::vector<bool> drained_by_close;                          // else what is in its buffer at the end is counted there
  ContextAndCancel work = with_cancel(Context::background());  // cancelled at some moment, or never
  ContextAndCancel sending = with_cancel(Context::background());  // until no sender is left
  std::deque<Log> logs;
};

Duration some_time(Random& random) { return std::chrono::microseconds(random.below(8)); }

class Actor {
 public:
  Actor(World& world, std::uint64_t id, Log& log)
      : world_(world), id_(id), random_(world.random.below(1U << 30)), log_(log) {}

  void live(bool sends, bool receives) {
    for (std::uint64_t n = random_.below(world_.mix.ops + 1); n > 0; --n) {
      if (random_.below(4) == 0) sleep(some_time(random_));
      if (random_.below(8) == 0) gosched();
      try {
        if (sends && (!receives || random_.below(2) == 0)) {
          send();
        } else {
          receive(sends);
        }
      } catch (const Panic&) {  // send on closed channel: it did not go
      }
    }
  }

  void drain(std::size_t c) {
    if (random_.below(2) == 0) sleep(some_time(random_));
    Chan<Parcel>& chan = world_.chans[c];
    if (world_.drained_by_close[c]) {
      for (auto&& parcel : chan) note(parcel);
      return;
    }
    for (bool more = true; more;) {
      select(on_recv(chan, [&](std::optional<Parcel> parcel) { parcel ? note(*parcel) : void(more = false); }),
             on_done(world_.sending.ctx, [&] { more = false; }));
    }
  }

 private:
  void note(const Parcel& parcel) {
    if (!parcel.whole()) ++log_.damaged;
    log_.got.push_back(parcel.number());
  }
  auto taker() {
    return [this](std::optional<Parcel> parcel) {
      if (parcel) note(*parcel);
    };
  }
  auto sent(const Parcel& parcel) {
    return [this, number = parcel.number()] { log_.sent.push_back(number); };
  }
  std::size_t some_chan() { return random_.below(world_.chans.size()); }
  Parcel next(std::size_t chan) { return Parcel(number_of(id_, chan, ++made_)); }

  void send() {
    const std::size_t a = some_chan();
    const std::size_t b = some_chan();
    Chan<Parcel>& to = world_.chans[a];
    const Parcel p = next(a);
    switch (random_.below(world_.mix.selects ? 8 : 2)) {
      case 0: to.send(p), sent(p)(); return;
      case 1:
        if (to.try_send(p)) sent(p)();
        return;
      case 2: {
        const Parcel q = next(b);
        select(on_send(to, p, sent(p)), on_send(world_.chans[b], q, sent(q)));
        return;
      }
      case 3: select(on_send(to, p, sent(p)), on_recv(world_.chans[b], taker())); return;
      case 4: select(on_send(to, p, sent(p)), on_timeout(some_time(random_), [] {})); return;
      case 5: {
        auto [ctx, cancel] = with_timeout(world_.work.ctx, some_time(random_));
        select(on_done(ctx, [] {}), on_send(to, p, sent(p)));
        cancel();
        return;
      }
      case 6: select(on_send(to, p, sent(p)), on_recv(world_.chans[b], taker()), otherwise([] {})); return;
      default: select_many(true); return;
    }
  }

  // It ends when no sender is left, at the latest.
  void receive(bool sender) {
    const std::size_t a = some_chan();
    Chan<Parcel>& from = world_.chans[a];
    // A sender who waited for the end of all sending would wait for himself.
    constexpr std::uint64_t kSendersToo = 3;
    const std::uint64_t op =
        !world_.mix.selects ? (sender ? 0 : 3 * random_.below(2)) : random_.below(sender ? kSendersToo : 6);
    switch (op) {
      case 0: taker()(from.try_recv()); return;
      case 1: select(on_recv(from, taker()), on_timeout(some_time(random_), [] {})); return;
      case 2: select_many(sender); return;
      case 3:
        if (world_.drained_by_close[a]) {
          taker()(from.recv());
        } else {
          select(on_recv(from, taker()), on_done(world_.sending.ctx, [] {}));
        }
        return;
      case 4: {
        Chan<Parcel>& other = world_.chans[some_chan()];
        select(on_recv(from, taker()), on_recv(other, taker()), on_done(world_.sending.ctx, [] {}));
        return;
      }
      default:
        select(on_recv(from, taker()), on_done(world_.work.ctx, [] {}), on_done(world_.sending.ctx, [] {}));
        return;
    }
  }

  // Once or twice among some sends and receives; the same channel may be in several.
  void select_many(bool sender) {
    SelectList list;
    std::vector<std::size_t> sends;
    for (std::uint64_t n = random_.below(4); n > 0; --n) {
      const std::size_t c = some_chan();
      if (random_.below(2) == 0) {
        list.add(on_recv(world_.chans[c], taker()));
        continue;
      }
      const Parcel p = next(c);
      sends.push_back(list.add(on_send(world_.chans[c], p, [this, p, &list, &sends] {
        sent(p)();
        for (const std::size_t i : sends) list.disable(i);  // the others, sent after it, would come out of order
      })));
    }
    if (sender || random_.below(2) == 0) list.add(on_timeout(some_time(random_), [] {}));
    list.add(on_done(world_.sending.ctx, [] {}));
    for (std::uint64_t n = 1 + random_.below(2); n > 0; --n) select(list);
  }

  World& world_;
  const std::uint64_t id_;
  Random random_;
  Log& log_;
  std::uint64_t made_ = 0;
};

// Order in each log; sent and got are the same, each once.
void audit(const World& world) {
  std::vector<std::uint64_t> sent;
  std::vector<std::uint64_t> got;
  for (const Log& log : world.logs) {
    EXPECT_EQ(log.damaged, 0);
    std::map<std::uint64_t, std::uint64_t> last;
    for (const std::uint64_t number : log.got) {
      std::uint64_t& before = last[line_of(number)];
      EXPECT_LT(before, number) << "overtaken";
      before = number;
    }
    sent.insert(sent.end(), log.sent.begin(), log.sent.end());
    got.insert(got.end(), log.got.begin(), log.got.end());
  }
  std::ranges::sort(sent);
  std::ranges::sort(got);
  std::vector<std::uint64_t> wrong;
  std::ranges::set_symmetric_difference(sent, got, std::back_inserter(wrong));
  EXPECT_EQ(wrong, std::vector<std::uint64_t>()) << "lost, doubled, or never sent; sent " << sent.size();
}

void run_program(std::uint64_t seed, const Mix& mix) {
  World world(seed, mix);
  Random& random = world.random;
  WaitGroup senders;
  WaitGroup others;
  const auto start = [&](WaitGroup& wg, auto life) {
    world.logs.emplace_back();
    wg.go([actor = Actor(world, world.logs.size(), world.logs.back()), life]() mutable { life(actor); });
  };
  for (std::size_t c = 0; c < world.chans.size(); ++c) start(others, [c](Actor& actor) { actor.drain(c); });
  for (std::uint64_t n = 1 + random.below(4); n > 0; --n) {
    const bool receives = random.below(3) == 0;
    start(senders, [receives](Actor& actor) { actor.live(true, receives); });
  }
  for (std::uint64_t n = random.below(3); n > 0; --n) start(others, [](Actor& actor) { actor.live(false, true); });
  std::vector<bool> closed_early(world.chans.size());
  for (std::size_t c = 0; c < world.chans.size(); ++c) {
    if (!mix.closes || random.below(3) != 0) continue;
    closed_early[c] = true;
    others.go([&world, c, after = some_time(random)] {
      sleep(after);
      world.chans[c].close();
    });
  }
  if (mix.cancels) {
    others.go([&world, after = some_time(random)] {
      sleep(after);
      world.work.cancel();
    });
  }
  senders.wait();
  for (std::size_t c = 0; c < world.chans.size(); ++c) {
    if (world.drained_by_close[c] && !closed_early[c]) world.chans[c].close();
  }
  world.sending.cancel();
  others.wait();
  world.work.cancel();
  Log& buffered = world.logs.emplace_back();
  for (auto& chan : world.chans) {
    while (const auto parcel = chan.try_recv()) buffered.got.push_back(parcel->number());
  }
  audit(world);
}

test::Explored explore_programs(const Mix& mix) {
  return test::explore(kSeeds, [&](std::uint64_t seed) { run_program(seed, mix); },
                       {.failed = [] { return testing::Test::HasFailure(); }});
}

TEST(Seeded, channels_lose_double_and_reorder_nothing) {
  explore_programs({.selects = false, .closes = false, .cancels = false});
}

TEST(Seeded, nor_do_selects) { explore_programs({.closes = false, .cancels = false}); }

TEST(Seeded, nor_does_a_close_beside_senders_and_receivers) { explore_programs({.cancels = false}); }

TEST(Seeded, nor_does_any_mix_with_cancels) {
  const auto seen = explore_programs({});
  EXPECT_GT(seen.schedules, seen.seeds * 9 / 10) << "the seeds hardly differ";
}

TEST(Seeded, nor_do_longer_programs) {
  test::explore(kSeeds / 20, [](std::uint64_t seed) { run_program(seed, {.ops = 200}); },
                {.failed = [] { return testing::Test::HasFailure(); }});
}

// The same on Ps that really run beside each other, and are taken away.
TEST(Seeded, programs_hold_on_two_Ps_with_forced_preemption) {
  const test::TimeLimit limit;
  const test::DebugSetting forced(test::kForced);
  for (const int procs : {2, 4}) {
    heddle::run(
        [] {
          for (std::uint64_t seed = 1; seed <= std::uint64_t{600 / test::kSlow / test::kSlow} + 5; ++seed) {
            run_program(seed, {.ops = seed % 10 == 0 ? 400U : 20U});
            ASSERT_FALSE(testing::Test::HasFailure()) << "seed " << seed;
          }
        },
        {.procs = procs});
  }
}

}  // namespace
}  // namespace heddle
