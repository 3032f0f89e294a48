// Pool<T>: objects that are dear to make and were used lately, kept for the next who needs one. Go's sync.Pool.
//
//     get():  this P's hot object | this P's fresh ones | other Ps' | the old ones | none: make one
//     put():  becomes this P's hot object; the one that was goes to the fresh ones
//
//     one generation (10 s) passes:   hot, fresh ----> old ----> destroyed
//
// I1. A shard per CPU, found by the P's number: so a get and a put usually touch lines that no other CPU writes. But it
//     is no more than a hint (a goroutine may be moved in between): all of a shard is safe for everybody. `hot` changes
//     by exchange alone, so an object has one owner; the lists are guarded by the shard's lock.
// I2. There is no garbage collector that would clean up. sysmon moves a number on as time passes (one for all pools);
//     the first get or put of a pool that sees it does the work, for all shards, and runs the destructors, on its own
//     goroutine, with no lock held. Generations are stretches of the clock, the same for all objects: so one that nobody
//     got since it was put is kept for 10 s at least, and from 20 s on is freed by the pool's next use. A pool that is not
//     used at all keeps what it has until trim(), or its end.
// I3. An object's link lies before the object, in the same allocation: a put allocates nothing and always succeeds.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include <heddle/core/lock.h>

namespace heddle {

namespace detail {

struct PoolNode {
  PoolNode* next = nullptr;
};

/// All of a pool that does not know its T.
class PoolCore {
 public:
  explicit PoolCore(void (*destroy)(PoolNode*) noexcept);
  ~PoolCore();
  PoolCore(const PoolCore&) = delete;
  PoolCore& operator=(const PoolCore&) = delete;

  /// Null if there is none.
  [[nodiscard]] PoolNode* get() noexcept;
  void put(PoolNode* node) noexcept;
  void discard(PoolNode* node) noexcept { destroy_(node); }
  void trim() noexcept;

 private:
  struct Shard;

  [[nodiscard]] Shard& mine() noexcept;
  [[nodiscard]] PoolNode* get_slow(Shard& first) noexcept;
  void look_at_time() noexcept;
  void age(bool all) noexcept;

  void (*const destroy_)(PoolNode*) noexcept;
  const std::size_t count_;
  const std::unique_ptr<Shard[]> shards_;
  std::atomic<std::uint32_t> aged_at_;  // written by who does the work of a generation
};

template <class T>
struct MakeDefault {
  T operator()() const { return T(); }
};

template <class T>
struct PoolItem : PoolNode {
  template <class Make>
  explicit PoolItem(Make& make) : value(make()) {}
  T value;
};

}  // namespace detail

/// An object out of a Pool; goes back there at the end of its scope. Moves, does not copy.
///
/// Lifetime: the pool must outlive it. Threads: may end on another goroutine or thread than it began.
template <class T>
class [[nodiscard]] Pooled {
 public:
  Pooled() noexcept = default;
  Pooled(Pooled&& other) noexcept : pool_(other.pool_), item_(std::exchange(other.item_, nullptr)) {}
  Pooled& operator=(Pooled&& other) noexcept {
    if (this != &other) {
      reset();
      pool_ = other.pool_;
      item_ = std::exchange(other.item_, nullptr);
    }
    return *this;
  }
  ~Pooled() { reset(); }

  [[nodiscard]] T& operator*() const noexcept { return item_->value; }
  [[nodiscard]] T* operator->() const noexcept { return &item_->value; }
  [[nodiscard]] T* get() const noexcept { return item_ == nullptr ? nullptr : &item_->value; }
  explicit operator bool() const noexcept { return item_ != nullptr; }

  /// Gives it back now.
  void reset() noexcept {
    if (item_ != nullptr) pool_->put(std::exchange(item_, nullptr));
  }

  /// Destroys it instead of giving it back: it is broken, or has grown too large to keep.
  void discard() noexcept {
    if (item_ != nullptr) pool_->discard(std::exchange(item_, nullptr));
  }

 private:
  template <class, class>
  friend class Pool;
  Pooled(detail::PoolCore& pool, detail::PoolNode* node) noexcept
      : pool_(&pool), item_(static_cast<detail::PoolItem<T>*>(node)) {}

  detail::PoolCore* pool_ = nullptr;
  detail::PoolItem<T>* item_ = nullptr;
};

/// Objects to be used again. What one finds is in the state in which the last user left it: clear it after get().
///
///     heddle::Pool<std::vector<char>> buffers;
///     heddle::Pool parsers([] { return Parser(kLimits); });
///     auto buffer = buffers.get();
///     buffer->clear();
///
/// It promises no more than Go's: an object that was put may be given to the next get, or be destroyed; there may be
/// any number of them. Which one a get finds is not said, only that nobody else has it.
/// Threads:  any, with or without a scheduler. `make` may be called by several at once.
/// Lifetime: must outlive what it gave out. Destroys what it holds.
/// Source:   pkg.go.dev/sync#Pool.
template <class T, class Make = detail::MakeDefault<T>>
class Pool {
 public:
  /// A pool whose get() calls `make()`, which returns a T, when it finds nothing.
  explicit Pool(Make make = Make()) : core_(&destroy), make_(std::move(make)) {}

  /// An object that was put, or a new one.
  ///
  /// Errors:  std::bad_alloc; what `make` throws.
  Pooled<T> get() {
    detail::PoolNode* node = core_.get();
    return {core_, node != nullptr ? node : new detail::PoolItem<T>(make_)};
  }

  /// Lets a generation pass at once: what was not used since the last one is destroyed. For a program that goes idle;
  /// two calls empty the pool.
  void trim() noexcept { core_.trim(); }

 private:
  static void destroy(detail::PoolNode* node) noexcept { delete static_cast<detail::PoolItem<T>*>(node); }

  detail::PoolCore core_;
  [[no_unique_address]] Make make_;
};

template <class Make>
Pool(Make) -> Pool<std::invoke_result_t<Make&>, Make>;

}  // namespace heddle
