// Interleaver: runs a few actors one step at a time, in an order drawn from a seed.
//
// Algorithms that take their atomics as a template parameter are instantiated with ShimAtomic; before every access an
// actor gives way, and the seed says who goes on. Actors are contexts of heddle's own switch, so a schedule of a hundred
// steps costs microseconds and a test can afford tens of thousands. What it explores is sequentially consistent orders: it
// finds wrong protocols, not wrong memory orders (those are for TSan and for stress on real cores).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <heddle/core/internal/context.h>
#include <heddle/core/internal/sanitizer.h>

namespace heddle::testing {

/// How many seeds a test should try, of `n` in a build without sanitizers: TSan makes a fiber per actor.
constexpr std::uint64_t seeds(std::uint64_t n) { return HEDDLE_TSAN != 0 ? n / 50 : HEDDLE_ASAN != 0 ? n / 5 : n; }

class Interleaver {
 public:
  explicit Interleaver(std::uint64_t seed) : rng_(seed * 0x9E37'79B9'7F4A'7C15ULL + 1) {}

  void actor(std::function<void()> body) {
    auto a = std::make_unique<Actor>();
    a->body = std::move(body);
    a->owner = this;
    a->stack = std::make_unique_for_overwrite<std::byte[]>(kStack);
    const auto top = (reinterpret_cast<std::uintptr_t>(a->stack.get()) + kStack) & ~std::uintptr_t{15};
    a->sp = make_context(reinterpret_cast<std::byte*>(top), &start, a.get());
    a->fiber = sanitizer::create_fiber();
    actors_.push_back(std::move(a));
  }

  /// Runs all actors to their ends.
  void run() {
    active = this;
    main_fiber_ = sanitizer::current_fiber();
    std::size_t left = actors_.size();
    while (left > 0) {
      Actor* a = actors_[next() % actors_.size()].get();
      if (a->done) continue;
      current_ = a;
      enter(a);
      current_ = nullptr;
      if (a->done) --left;
    }
    for (auto& a : actors_) sanitizer::destroy_fiber(a->fiber);
    active = nullptr;
  }

  /// The calling actor gives way. Outside actors: nothing.
  static void point() {
    if (active != nullptr && active->current_ != nullptr) active->leave(active->current_);
  }

  std::uint64_t next() {
    rng_ ^= rng_ >> 12;
    rng_ ^= rng_ << 25;
    rng_ ^= rng_ >> 27;
    return (rng_ * 0x2545'F491'4F6C'DD1DULL) >> 33;
  }

 private:
  static constexpr std::size_t kStack = std::size_t{64} << 10;
  struct Actor {
    std::function<void()> body;
    Interleaver* owner = nullptr;
    std::unique_ptr<std::byte[]> stack;
    void* sp = nullptr;
    void* fiber = nullptr;
    void* fake_stack = nullptr;
    bool done = false;
  };

  HEDDLE_SWITCHES_STACKS void enter(Actor* a) {
    sanitizer::start_switch(&main_fake_stack_, a->stack.get(), kStack, a->fiber);
    heddle_switch(&main_sp_, a->sp, nullptr);
    sanitizer::finish_switch(main_fake_stack_);
  }
  HEDDLE_SWITCHES_STACKS void leave(Actor* a) {
    sanitizer::start_switch(a->done ? nullptr : &a->fake_stack, main_stack_lo(), main_stack_size(), main_fiber_);
    heddle_switch(&a->sp, main_sp_, nullptr);
    sanitizer::finish_switch(a->fake_stack);
  }
  static HEDDLE_SWITCHES_STACKS void start(void* arg) {
    auto* a = static_cast<Actor*>(arg);
    sanitizer::finish_switch(nullptr);
    a->body();
    a->done = true;
    a->owner->leave(a);
    __builtin_unreachable();
  }
  static const void* main_stack_lo();
  static std::size_t main_stack_size();

  static inline Interleaver* active = nullptr;
  std::uint64_t rng_;
  std::vector<std::unique_ptr<Actor>> actors_;
  Actor* current_ = nullptr;
  void* main_sp_ = nullptr;
  void* main_fake_stack_ = nullptr;
  void* main_fiber_ = nullptr;
};

namespace detail {
struct StackBounds {
  void* lo = nullptr;
  std::size_t size = 0;
  StackBounds() {
    pthread_attr_t attr;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &lo, &size);
    pthread_attr_destroy(&attr);
  }
};
inline const StackBounds& bounds() {
  static const StackBounds b;
  return b;
}
}  // namespace detail

inline const void* Interleaver::main_stack_lo() { return detail::bounds().lo; }
inline std::size_t Interleaver::main_stack_size() { return detail::bounds().size; }

/// std::atomic with a schedule point before every access.
template <class T>
class ShimAtomic {
 public:
  constexpr ShimAtomic() noexcept = default;
  constexpr ShimAtomic(T v) noexcept : v_(v) {}  // NOLINT: as std::atomic
  T load(std::memory_order o = std::memory_order_seq_cst) const {
    Interleaver::point();
    return v_.load(o);
  }
  void store(T v, std::memory_order o = std::memory_order_seq_cst) {
    Interleaver::point();
    v_.store(v, o);
  }
  T exchange(T v, std::memory_order o = std::memory_order_seq_cst) {
    Interleaver::point();
    return v_.exchange(v, o);
  }
  bool compare_exchange_strong(T& e, T d, std::memory_order s = std::memory_order_seq_cst,
                               std::memory_order f = std::memory_order_seq_cst) {
    Interleaver::point();
    return v_.compare_exchange_strong(e, d, s, f);
  }
  bool compare_exchange_weak(T& e, T d, std::memory_order s = std::memory_order_seq_cst,
                             std::memory_order f = std::memory_order_seq_cst) {
    return compare_exchange_strong(e, d, s, f);
  }
  T fetch_add(T d, std::memory_order o = std::memory_order_seq_cst) {
    Interleaver::point();
    return v_.fetch_add(d, o);
  }
  T fetch_sub(T d, std::memory_order o = std::memory_order_seq_cst) {
    Interleaver::point();
    return v_.fetch_sub(d, o);
  }
  T fetch_or(T d, std::memory_order o = std::memory_order_seq_cst) {
    Interleaver::point();
    return v_.fetch_or(d, o);
  }
  T fetch_and(T d, std::memory_order o = std::memory_order_seq_cst) {
    Interleaver::point();
    return v_.fetch_and(d, o);
  }

 private:
  std::atomic<T> v_{};
};

}  // namespace heddle::testing
