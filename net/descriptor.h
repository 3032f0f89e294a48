// Descriptor: an open file of the kernel's that goroutines wait for. What sockets of all kinds, listeners and pipes share:
// ownership, closing, and the hand-over of raw descriptor numbers.
#pragma once

#include <cstdint>

#include <heddle/core/error.h>

namespace heddle::net {

struct PollDesc;

namespace detail {

/// Names a descriptor without keeping it: a slot that is never freed, and the generation that is meant. Once that has been
/// closed the handle finds so, whoever has the slot then. A zero handle is closed.
struct Handle {
  PollDesc* pd = nullptr;
  std::uint32_t generation = 0;
};

/// Lets net's own code ask a Descriptor for its handle.
struct HandleOf;

}  // namespace detail

/// Owns one open file. Movable; the destructor closes it.
///
/// A Descriptor belongs to the run() in which it was made: its end closes those that are left.
/// Threads: moving and destroying are for who owns it alone, all else is for any goroutine at any time.
class Descriptor {
 public:
  Descriptor() noexcept = default;  // closed
  explicit Descriptor(detail::Handle handle) noexcept : handle_(handle) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : handle_(other.take()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;

  /// The number, or -1 if closed. For socket options; who closes it, or makes it blocking, breaks the descriptor.
  [[nodiscard]] int native_handle() const noexcept;

  /// Takes the open file out: the caller owns the number from now on, close-on-exec and non-blocking. Who waits gets
  /// kClosed, and this object is closed; the peer notices nothing. Parks until nobody is inside any more, and, with io_uring,
  /// until the kernel has let go of it: only the thread of its home can see to that, so if a goroutine computes there, when that
  /// next comes to its scheduler.
  ///
  /// Errors:  kClosed if it was closed. Threads: a goroutine.
  [[nodiscard]] Result<int> release_fd();

  /// Ends it: who waits gets kClosed. Idempotent; never parks.
  void close() noexcept;

 protected:
  detail::Handle take() noexcept {
    const detail::Handle handle = handle_;
    handle_ = {};
    return handle;
  }

  detail::Handle handle_;

 private:
  friend struct detail::HandleOf;
};

}  // namespace heddle::net
