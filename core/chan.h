// Chan<T>: Go's channel. A value goes from one goroutine to another; whoever comes first waits, parked.
//
// A Chan<T> is a handle, as in Go: copying it copies a reference (one atomic add), all copies are the same channel, and a
// default-constructed one is the nil channel, on which everybody waits forever. SendChan<T> and RecvChan<T> are the
// one-way views that a signature can ask for; a Chan<T> converts to both.
//
//     capacity 0     a send returns when a receiver has the value
//     capacity n     a send returns when the value is in the buffer; it waits while n values are there
//     closed         a send panics; a receive drains the buffer, then says "no value" at once, for ever
//
// I1. Values are received in the order of their sends, each exactly once. Waiters are served first come, first served.
// I2. A value moves straight from the sender's object into the receiver's: through the buffer only if nobody waits.
// I3. T must move without throwing (checked when compiled), because a move may happen on the partner's thread, where
//     there is nobody to catch, half-way through a transfer. Put a type that cannot into a std::unique_ptr.
// I4. In and out of the buffer T moves (and what was moved from is destroyed) under the channel's lock. So T's move
//     constructor and the destructor of a moved-from T must not block, allocate, or use a channel. Handing over between
//     two goroutines happens outside the lock.
//
// Memory model (go.dev/ref/mem): a send happens before the receive of its value completes; a close before a receive that
// returns because of it; the k-th receive of a channel of capacity n before the (k+n)-th send completes.
//
// The mechanism is in chan.cc and knows T as an ElemOps only. A template of all of it would save one indirect call per
// transfer (about 1 ns) and cost a copy of the state machine for each T.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include <heddle/core/panic.h>

namespace heddle {

/// What try_recv found.
enum class TryRecv : std::uint8_t { kValue, kEmpty, kClosed };

namespace detail {

struct ChanCore;

/// All that the mechanism knows of T. `slot` is raw storage in the buffer, `value` a T*, `out` an empty optional<T>*.
struct ElemOps {
  std::size_t size;
  std::size_t align;
  void (*put)(void* slot, void* value) noexcept;  // constructs in the slot, moving from the value
  void (*take)(void* out, void* slot) noexcept;   // moves out of the slot, which is raw again
  void (*give)(void* out, void* value) noexcept;  // moves from the value, which stays the sender's to destroy
  void (*drop)(void* slot) noexcept;
};

template <class T>
struct ElemOpsOf {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>, "a channel carries plain objects");
  static_assert(
      std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
      "a channel's T must be movable without exceptions (core/chan.h, I3): send a std::unique_ptr<T> instead");

  static T* as_value(void* at) noexcept { return std::launder(static_cast<T*>(at)); }
  static std::optional<T>* as_out(void* at) noexcept { return static_cast<std::optional<T>*>(at); }

  static void put(void* slot, void* value) noexcept { ::new (slot) T(std::move(*as_value(value))); }
  static void take(void* out, void* slot) noexcept {
    as_out(out)->emplace(std::move(*as_value(slot)));
    as_value(slot)->~T();
  }
  static void give(void* out, void* value) noexcept { as_out(out)->emplace(std::move(*as_value(value))); }
  static void drop(void* slot) noexcept { as_value(slot)->~T(); }

  static constexpr ElemOps kOps{sizeof(T), alignof(T), &put, &take, &give, &drop};
};

// The mechanism. A null core is the nil channel.
ChanCore* chan_make(const ElemOps& ops, std::size_t capacity);  // with one reference
void chan_ref(ChanCore* core) noexcept;
void chan_unref(ChanCore* core) noexcept;
void chan_send(ChanCore* core, void* value);
[[nodiscard]] bool chan_try_send(ChanCore* core, void* value);
[[nodiscard]] bool chan_recv(ChanCore* core, void* out);
[[nodiscard]] TryRecv chan_try_recv(ChanCore* core, void* out);
void chan_close(ChanCore* core);
[[nodiscard]] std::size_t chan_len(const ChanCore* core) noexcept;
[[nodiscard]] std::size_t chan_cap(const ChanCore* core) noexcept;

/// The counted reference in every handle, and what all handles can do.
///
/// It holds the channel's address mixed with its own: a word at address A is a handle to channel c exactly if word ^ A == c.
/// What a handle leaves behind in a stack slot, or a copy of it in a register, so names no channel; core/leaks.h counts the
/// handles on a stack by that. All stores are volatile, for the compiler must neither keep a handle in registers alone nor
/// spare the one that clears it.
class ChanRef {
 public:
  constexpr ChanRef() noexcept = default;
  explicit ChanRef(ChanCore* adopted) noexcept { set(adopted); }
  ChanRef(const ChanRef& other) noexcept {
    ChanCore* c = other.core();
    if (c != nullptr) chan_ref(c);
    set(c);
  }
  ChanRef(ChanRef&& other) noexcept { set(other.release()); }
  ChanRef& operator=(ChanRef other) noexcept {
    ChanCore* ours = core();
    set(other.core());
    other.set(ours);
    return *this;
  }
  ~ChanRef() {
    if (ChanCore* c = release(); c != nullptr) chan_unref(c);
  }

  /// Values in the buffer at this moment; 0 for unbuffered and nil channels.
  [[nodiscard]] std::size_t len() const noexcept { return chan_len(core()); }

  /// The capacity that make_chan was given; 0 for the nil channel.
  [[nodiscard]] std::size_t cap() const noexcept { return chan_cap(core()); }

  /// False for the nil channel.
  explicit operator bool() const noexcept { return word_ != 0; }

  /// Equal if they are the same channel.
  friend bool operator==(const ChanRef& a, const ChanRef& b) noexcept { return a.core() == b.core(); }

  /// For select.
  [[nodiscard]] ChanCore* core() const noexcept {
    const std::uintptr_t word = word_;
    return word == 0 ? nullptr : reinterpret_cast<ChanCore*>(word ^ reinterpret_cast<std::uintptr_t>(&word_));
  }

 private:
  void set(ChanCore* c) noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(&word_);
    const_cast<volatile std::uintptr_t&>(word_) = c == nullptr ? 0 : reinterpret_cast<std::uintptr_t>(c) ^ at;
  }
  ChanCore* release() noexcept {
    ChanCore* c = core();
    if (c != nullptr) const_cast<volatile std::uintptr_t&>(word_) = 0;
    return c;
  }

  std::uintptr_t word_ = 0;  // 0: the nil channel; else never 0, for no handle lies where its channel does
};

/// The sending half of a handle. A method is const because it changes the channel, not the handle.
///
/// Threads: any goroutine, any number at once, through any copy. What cannot park (try_send, close, and on a channel with
/// room also send) is for foreign threads, too. Lifetime: the handle must outlive the call.
template <class T, class Base>
class Sends : public Base {
 public:
  Sends() noexcept = default;
  explicit Sends(Base base) noexcept : Base(std::move(base)) {}

  /// Sends `value`; parks until a receiver or the buffer has it.
  ///
  /// Errors:  throws Panic "send on closed channel" if the channel is closed, also while it waits. On the nil channel it
  ///          parks forever.
  void send(T value) const { chan_send(this->core(), &value); }

  /// Sends if that is possible without waiting; never parks. If it returns false, `value` has not been moved from.
  ///
  /// Errors:  throws Panic "send on closed channel". False on the nil channel.
  [[nodiscard]] bool try_send(T&& value) const { return chan_try_send(this->core(), &value); }
  [[nodiscard]] bool try_send(const T& value) const requires std::is_copy_constructible_v<T> {
    T copy(value);
    return chan_try_send(this->core(), &copy);
  }

  /// Says that no value will follow: receivers drain the buffer, then get none. Waiting senders panic.
  ///
  /// Errors:  throws Panic "close of closed channel" or "close of nil channel".
  void close() const { chan_close(this->core()); }
};

/// The receiving half. Threads and lifetime: as for Sends.
template <class T, class Base>
class Receives : public Base {
 public:
  Receives() noexcept = default;
  explicit Receives(Base base) noexcept : Base(std::move(base)) {}

  /// Receives a value; parks until there is one. Returns: none if the channel is closed and drained.
  ///
  /// On the nil channel it parks forever.
  [[nodiscard]] std::optional<T> recv() const {
    std::optional<T> out;
    static_cast<void>(chan_recv(this->core(), &out));
    return out;
  }

  /// The same into `out`, which is left alone if it returns false: closed and drained.
  [[nodiscard]] bool recv(T& out) const {
    std::optional<T> value;
    if (!chan_recv(this->core(), &value)) return false;
    out = *std::move(value);
    return true;
  }

  /// Receives if that is possible without waiting; never parks. None: nothing there, or closed and drained.
  [[nodiscard]] std::optional<T> try_recv() const {
    std::optional<T> out;
    static_cast<void>(chan_try_recv(this->core(), &out));
    return out;
  }

  /// The same into `out`, which is set on kValue only, for who must tell "nothing yet" from "never again".
  [[nodiscard]] TryRecv try_recv(T& out) const {
    std::optional<T> value;
    const TryRecv found = chan_try_recv(this->core(), &value);
    if (found == TryRecv::kValue) out = *std::move(value);
    return found;
  }

  /// Iterates by receiving: `for (T v : ch)` ends when the channel is closed and drained. Dereferencing moves the value
  /// out, so that `auto v` takes ownership of a move-only T (and `auto& v` does not compile: say `auto&&`).
  class Iterator {
   public:
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    explicit Iterator(ChanCore* core) : core_(core) { ++*this; }
    T&& operator*() noexcept { return *std::move(value_); }
    Iterator& operator++() {
      value_.reset();  // a receive fills an empty optional
      static_cast<void>(chan_recv(core_, &value_));
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t) noexcept { return !it.value_.has_value(); }

   private:
    ChanCore* core_;
    std::optional<T> value_;
  };

  [[nodiscard]] Iterator begin() const { return Iterator(this->core()); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }
};

}  // namespace detail

/// A channel of T, both ways. See the file's opening.
template <class T>
class Chan : public detail::Sends<T, detail::Receives<T, detail::ChanRef>> {
 public:
  /// The nil channel.
  Chan() noexcept = default;

 private:
  explicit Chan(detail::ChanCore* adopted) noexcept
      : detail::Sends<T, detail::Receives<T, detail::ChanRef>>(
            detail::Receives<T, detail::ChanRef>(detail::ChanRef(adopted))) {}
  template <class U>
  friend Chan<U> make_chan(std::size_t capacity);
};

/// The view of a channel that can only be sent to (and closed).
template <class T>
class SendChan : public detail::Sends<T, detail::ChanRef> {
 public:
  SendChan() noexcept = default;
  SendChan(Chan<T> chan) noexcept : detail::Sends<T, detail::ChanRef>(static_cast<detail::ChanRef&&>(chan)) {}
};

/// The view of a channel that can only be received from.
template <class T>
class RecvChan : public detail::Receives<T, detail::ChanRef> {
 public:
  RecvChan() noexcept = default;
  RecvChan(Chan<T> chan) noexcept : detail::Receives<T, detail::ChanRef>(static_cast<detail::ChanRef&&>(chan)) {}
};

/// A new channel; `capacity` values fit in its buffer.
///
/// Errors:   std::bad_alloc. This is the only allocation of a channel's life.
/// Threads:  any. Lifetime: freed with its last handle; values still in the buffer are destroyed. A handle on the stack of
///           a goroutine that run() abandoned keeps it for ever.
template <class T>
[[nodiscard]] Chan<T> make_chan(std::size_t capacity = 0) {
  return Chan<T>(detail::chan_make(detail::ElemOpsOf<T>::kOps, capacity));
}

}  // namespace heddle
