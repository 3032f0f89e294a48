// Ring: one io_uring of one worker M, and all that net knows of setting one up.
//
// Flags: SINGLE_ISSUER | DEFER_TASKRUN (completions are made only when this M enters the kernel for them: no interrupts,
// and a batch at a time), TASKRUN_FLAG (so that a look at shared memory tells whether entering can pay), SUBMIT_ALL, CLAMP,
// CQSIZE. liburing adds NO_SQARRAY where the kernel has it. All needs Linux 6.1; where that is missing, or forbidden by a
// seccomp filter or kernel.io_uring_disabled, the answer to the trial set-up is EINVAL, ENOSYS or EPERM, and epoll serves.
//
// I1. Only the thread that made it enters the kernel for it. Its queues in memory belong to whoever holds the P; anybody may
//     look whether there is something in them (looks_ready).
// I2. A completion that does not fit the queue is kept by the kernel (FEAT_NODROP) and reported by CQ_OVERFLOW: entering
//     brings it. EBADR, "dropped for good", is fatal: a lost terminal completion would wedge its connection.
//
// Not taken: liburing's calls inside signal handlers (they are not documented to bear that; what a handler will need is
// enter and a look at the queue, which is to be written here without it).
#pragma once

#include <liburing.h>
#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace heddle::net {

/// What keeps this kernel from serving us, as a string literal; nullptr if nothing.
[[nodiscard]] const char* why_no_io_uring() noexcept;

class Ring {
 public:
  /// Makes the kernel's part. Returns 0 or an errno: ENOMEM (also the limit on locked memory), EMFILE, EPERM …
  [[nodiscard]] static int set_up(unsigned entries, unsigned completions, io_uring& ring) noexcept;

  /// Takes over what set_up() has made on this thread.
  explicit Ring(const io_uring& ring) noexcept;
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// A place for a request; submits what is there if the queue is full. nullptr if the kernel takes none now: try again
  /// after the next turn.
  [[nodiscard]] io_uring_sqe* sqe() noexcept;

  /// True if enter() has requests to hand over or completions to fetch.
  [[nodiscard]] bool enter_would_pay() const noexcept;
  /// The same, or something for drain(), as far as another thread can tell. Threads: any.
  [[nodiscard]] bool looks_ready() const noexcept;
  /// True if drain() has something to take.
  [[nodiscard]] bool has_completions() const noexcept { return io_uring_cq_ready(&ring_) != 0; }

  /// True if the kernel keeps completions that did not fit the queue (I2). Threads: any.
  [[nodiscard]] bool overflows() const noexcept;

  /// Submits, and lets the kernel make completions. Never blocks.
  void enter() noexcept;
  /// The same, and blocks until there is a completion or `timeout` ns have passed (negative: no limit).
  void wait(std::int64_t timeout) noexcept;

  /// Calls `f(cqe)` for at most `most` completions. Returns how many.
  template <class F>
  int drain(int most, F f) {
    int n = 0;
    unsigned head = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      if (n == most) break;
      const io_uring_cqe copy = *cqe;
      ++n;
      f(copy);
    }
    io_uring_cq_advance(&ring_, static_cast<unsigned>(n));
    return n;
  }

  [[nodiscard]] io_uring* raw() noexcept { return &ring_; }

 private:
  void check(int status, const char* call) noexcept;

  [[nodiscard]] bool on_own_thread() const noexcept { return ::pthread_equal(thread_, ::pthread_self()) != 0; }

  // relaxed: for looks_ready(), whose word is a hint.
  void note_queued() noexcept { queued_.store(io_uring_sq_ready(&ring_) != 0, std::memory_order_relaxed); }

  io_uring ring_{};
  // Requests wait to be handed over: what the owner knows from the queue, for other threads. relaxed: a hint.
  std::atomic<bool> queued_{false};
  const pthread_t thread_;  // that made it
};

}  // namespace heddle::net
