// GoroutineLocal: a variable of which every goroutine has its own, as a thread_local is every thread's.
//
//     heddle::GoroutineLocal<Request> request;                       // at namespace scope, or static
//
//     request.set(id, deadline);                                     // this goroutine's
//     if (Request* r = request.get()) log(r->id);                    // nullptr where it was never set
//
// A thread_local will not do: a goroutine that parks may go on on another thread.
//
// I1. A variable takes its slot number when it is set for the first time, and keeps it for ever: so it needs no
//     constructor at run time (no order of initialization to get wrong), and must be of static storage duration.
// I2. A value is one heap object per goroutine and variable. The first four variables are found in the goroutine
//     itself, others in an array that it allocates when it sets one of them.
// I3. Only its goroutine reaches a value; nothing here is locked.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace heddle {

/// Whether a goroutine starts with a copy of its creator's value, or with none.
enum class Inherit : std::uint8_t { kNo, kCopy };

namespace detail {

struct LocalOps {
  void (*destroy)(void* value) noexcept;
  void* (*copy)(const void* value);  // null: not inherited
};

/// A new slot's number, from 1. Dies with a message if there are too many.
[[nodiscard]] std::uint32_t new_local(const LocalOps& ops);
/// The current goroutine's value in `slot`; nullptr if it has none, or outside any.
[[nodiscard]] void* get_local(std::uint32_t slot) noexcept;
/// Puts it there (nullptr: none) and destroys what was there before.
void set_local(std::uint32_t slot, void* value);

}  // namespace detail

/// A variable with a value per goroutine. Of static storage duration: at namespace scope, or `static`.
///
/// With Inherit::kCopy a goroutine starts with a copy of the value that its creator has at that moment: the copy is
/// made by go(), on the creator's stack, and what copying throws leaves go().
///
/// A goroutine's values are destroyed when its function has returned, or after goexit(), on its own stack, so a
/// destructor may park. What destructors set is destroyed in turn, four times over at most. Values of goroutines that
/// run() abandons are destroyed by run() itself when the scheduler has stopped: there a destructor runs outside any
/// goroutine.
/// Errors:   a program has at most 256 such variables; one more dies with a message.
/// Threads:  each goroutine sees its own. Off goroutines there is no value, and set() dies with a message.
/// Lifetime: what get() and set() return lives until the same goroutine sets or resets it, or ends.
template <class T, Inherit kInherit = Inherit::kNo>
class GoroutineLocal {
  static_assert(std::is_object_v<T> && std::is_nothrow_destructible_v<T>);
  static_assert(kInherit == Inherit::kNo || std::is_copy_constructible_v<T>, "Inherit::kCopy copies");

 public:
  constexpr GoroutineLocal() noexcept = default;
  GoroutineLocal(const GoroutineLocal&) = delete;
  GoroutineLocal& operator=(const GoroutineLocal&) = delete;

  /// This goroutine's value, or nullptr if it has none.
  [[nodiscard]] T* get() const noexcept {
    // acquire: pairs with slot(). 0: nobody has set it yet.
    return static_cast<T*>(detail::get_local(slot_.load(std::memory_order_acquire)));
  }

  /// True if this goroutine has a value.
  [[nodiscard]] bool has() const noexcept { return get() != nullptr; }

  /// Makes a new value of `args` for this goroutine; then destroys the one before.
  ///
  /// Errors: std::bad_alloc, and what T's constructor throws; then the old value stays.
  template <class... Args>
  T& set(Args&&... args) {
    const std::uint32_t slot = this->slot();
    auto value = std::make_unique<T>(std::forward<Args>(args)...);
    T* raw = value.get();
    detail::set_local(slot, raw);
    static_cast<void>(value.release());
    return *raw;
  }

  /// Destroys this goroutine's value, if it has one.
  void reset() {
    if (has()) detail::set_local(slot(), nullptr);
  }

 private:
  static void destroy(void* value) noexcept { delete static_cast<T*>(value); }
  static void* copy(const void* value) {
    if constexpr (kInherit == Inherit::kCopy) {
      return new T(*static_cast<const T*>(value));
    } else {
      return nullptr;
    }
  }
  static constexpr detail::LocalOps kOps{&destroy, kInherit == Inherit::kCopy ? &copy : nullptr};

  [[nodiscard]] std::uint32_t slot() {
    std::uint32_t slot = slot_.load(std::memory_order_acquire);  // acquire: as in get()
    if (slot != 0) return slot;
    const std::uint32_t fresh = detail::new_local(kOps);
    // acq_rel: publishes the slot's entry in the table of operations; the loser sees the winner's, and leaves a hole.
    const bool ours = slot_.compare_exchange_strong(slot, fresh, std::memory_order_acq_rel, std::memory_order_acquire);
    return ours ? fresh : slot;
  }

  std::atomic<std::uint32_t> slot_{0};
};

}  // namespace heddle
