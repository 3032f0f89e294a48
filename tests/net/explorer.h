// Explorer: runs a few actors one at a time and, at every atomic operation, lets a seed choose who goes on.
//
// The algorithms under test take their atomic as a template parameter; HookedAtomic calls step() before each operation.
// Memory is sequentially consistent here: this finds wrong protocols, not missing orders (for those there is TSan).
//
//     Explorer explorer(seed);
//     explorer.actor([&] { … });            // at most a handful
//     EXPECT_TRUE(explorer.run());          // false: the actors that are left are all blocked, i.e. a wake-up was lost
//
// Actors are threads that pass a baton, so a run is reproducible from its seed, and sanitizers see plain threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <semaphore>
#include <thread>
#include <vector>

namespace heddle::net::test {

class Explorer {
 public:
  explicit Explorer(std::uint64_t seed) : random_(seed), stay_(std::uint64_t{1} << random_() % 5) {}

  void actor(std::function<void()> body) {
    actors_.push_back(std::make_unique<Actor>());
    Actor& self = *actors_.back();
    self.explorer = this;
    self.body = std::move(body);
  }

  /// Runs all to their ends. False if they got stuck; then they are unwound.
  bool run() {
    for (auto& each : actors_) {
      each->thread = std::thread([&self = *each] {
        current_ = &self;
        self.baton.acquire();
        try {
          if (!self.explorer->stuck_) self.body();
        } catch (const Stuck&) {
        }
        self.done = true;
        self.explorer->pass_on();
      });
    }
    pass_on();
    over_.acquire();
    for (auto& each : actors_) each->thread.join();
    return !stuck_;
  }

  /// A point where another actor may go on. Outside actors nothing.
  static void step() {
    Actor* self = current_;
    if (self == nullptr || self->explorer->stuck_) return;
    Explorer& explorer = *self->explorer;
    // Most bugs need few changes at the right places: seeds differ in how long an actor goes on (1 to 16 steps at a time).
    if (explorer.random_() % explorer.stay_ != 0) return;
    Actor* next = explorer.choose();
    if (next == self) return;
    next->baton.release();
    self->baton.acquire();
    if (explorer.stuck_ && self->blocked) throw Stuck{};
  }

  /// Takes the calling actor out of the choice until unblock(it).
  static void block() {
    Actor* self = current_;
    self->blocked = true;
    self->explorer->pass_on();
    self->baton.acquire();
    if (self->blocked) throw Stuck{};
  }

  /// Who calls, for unblock().
  static void* self() { return current_; }
  static void unblock(void* actor) { static_cast<Actor*>(actor)->blocked = false; }

 private:
  struct Stuck {};
  struct Actor {
    Explorer* explorer = nullptr;
    std::function<void()> body;
    std::thread thread;
    std::binary_semaphore baton{0};
    bool blocked = false;
    bool done = false;
  };

  Actor* choose() {
    std::vector<Actor*> able;
    for (auto& each : actors_) {
      if (!each->done && !each->blocked) able.push_back(each.get());
    }
    return able.empty() ? nullptr : able[random_() % able.size()];
  }

  void pass_on() {
    if (Actor* next = stuck_ ? nullptr : choose(); next != nullptr) {
      next->baton.release();
      return;
    }
    for (auto& each : actors_) {
      if (!each->done) {
        stuck_ = true;  // one by one: each unwinds and passes on
        each->baton.release();
        return;
      }
    }
    over_.release();
  }

  static inline thread_local Actor* current_ = nullptr;

  std::mt19937_64 random_;
  const std::uint64_t stay_;
  std::vector<std::unique_ptr<Actor>> actors_;
  std::binary_semaphore over_{0};
  bool stuck_ = false;  // handed over with the baton
};

/// std::atomic with a step before every operation.
template <class T>
class HookedAtomic {
 public:
  HookedAtomic(T value = T{}) : value_(value) {}  // NOLINT: implicit, as std::atomic's

  T load(std::memory_order = std::memory_order_seq_cst) const {
    Explorer::step();
    return value_.load();
  }
  void store(T value, std::memory_order = std::memory_order_seq_cst) {
    Explorer::step();
    value_.store(value);
  }
  T exchange(T value, std::memory_order = std::memory_order_seq_cst) {
    Explorer::step();
    return value_.exchange(value);
  }
  T fetch_add(T value, std::memory_order = std::memory_order_seq_cst) {
    Explorer::step();
    return value_.fetch_add(value);
  }
  T fetch_sub(T value, std::memory_order = std::memory_order_seq_cst) {
    Explorer::step();
    return value_.fetch_sub(value);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order = std::memory_order_seq_cst,
                               std::memory_order = std::memory_order_seq_cst) {
    Explorer::step();
    return value_.compare_exchange_strong(expected, desired);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order = std::memory_order_seq_cst,
                             std::memory_order = std::memory_order_seq_cst) {
    Explorer::step();
    return value_.compare_exchange_strong(expected, desired);
  }

 private:
  std::atomic<T> value_;
};

}  // namespace heddle::net::test
