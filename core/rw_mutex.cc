#include <heddle/core/rw_mutex.h>

#include <heddle/core/check.h>
#include <heddle/core/context.h>

namespace heddle {

void RWMutex::lock() {
  writer_.lock();
  // acquire: the readers that have left were done reading; pairs with the release in unlock_shared().
  const std::int32_t inside = readers_.fetch_sub(kWriter, std::memory_order_acquire);
  if (inside == 0) return;
  // acq_rel: acquire pairs with the release of the readers that have left since; release is for the one that will lead
  // their chain and let us in.
  if (leaving_.fetch_add(inside, std::memory_order_acq_rel) + inside == 0) return;
  write_sema_.acquire(WaitReason::kRWMutexLock);
}

Result<void> RWMutex::lock(const Context& ctx) {
  if (Result<void> alone = writer_.lock(ctx); !alone) return alone;
  // acquire, and acq_rel below: as in lock().
  const std::int32_t inside = readers_.fetch_sub(kWriter, std::memory_order_acquire);
  if (inside == 0) return {};
  if (leaving_.fetch_add(inside, std::memory_order_acq_rel) + inside == 0) return {};
  if (write_sema_.acquire_unless(ctx, WaitReason::kRWMutexLock, &RWMutex::writer_withdraws, this)) return {};
  return std::unexpected(detail::done_error(ctx, to_string(WaitReason::kRWMutexLock)));
}

// Keeps I5.
bool RWMutex::writer_withdraws(void* rw) noexcept {
  auto& leaving = static_cast<RWMutex*>(rw)->leaving_;
  std::int32_t left = leaving.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  while (left > 0) {
    // release: writer_, which we locked, is for the last reader to unlock; pairs with the acq_rel in leave_before_writer().
    if (leaving.compare_exchange_weak(left, left + kGone, std::memory_order_release, std::memory_order_relaxed)) return true;
  }
  return false;
}

bool RWMutex::try_lock() noexcept {
  if (!writer_.try_lock()) return false;
  std::int32_t nobody = 0;
  // acquire: as in lock().
  const bool alone =
      readers_.compare_exchange_strong(nobody, -kWriter, std::memory_order_acquire, std::memory_order_relaxed);
  if (!alone) writer_.unlock();
  return alone;
}

void RWMutex::unlock() {
  // release: publishes what we wrote to all readers to come; pairs with the acquire in lock_shared().
  const std::int32_t before = readers_.fetch_add(kWriter, std::memory_order_release);
  if (before >= 0) fatal("RWMutex: unlock of unlocked mutex");
  for (std::int32_t at_door = before + kWriter; at_door > 0; --at_door) read_sema_.release();
  writer_.unlock();  // keeps I3: after the readers are in
}

Result<void> RWMutex::lock_shared(const Context& ctx) {
  if (!ctx.err()) {
    // acquire: as in lock_shared().
    if (readers_.fetch_add(1, std::memory_order_acquire) >= 0) return {};
    if (read_sema_.acquire_unless(ctx, WaitReason::kRWMutexRLock, &RWMutex::reader_withdraws, this)) return {};
  }
  return std::unexpected(detail::done_error(ctx, to_string(WaitReason::kRWMutexRLock)));
}

// Keeps I5.
bool RWMutex::reader_withdraws(void* rw) noexcept {
  auto& count = static_cast<RWMutex*>(rw)->readers_;
  std::int32_t readers = count.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  while (readers < 0) {
    // relaxed: we have read nothing that a writer must wait for.
    if (count.compare_exchange_weak(readers, readers - 1, std::memory_order_relaxed, std::memory_order_relaxed)) return true;
  }
  return false;
}

bool RWMutex::try_lock_shared() noexcept {
  std::int32_t readers = readers_.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  while (readers >= 0) {
    // acquire: as in lock_shared().
    if (readers_.compare_exchange_weak(readers, readers + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

// The unit is ours as of unlock(), which has counted us in already.
void RWMutex::wait_at_door() { read_sema_.acquire(WaitReason::kRWMutexRLock); }

void RWMutex::leave_before_writer(std::int32_t before) {
  if (before == 0 || before == -kWriter) fatal("RWMutex: unlock_shared of unlocked mutex");
  // acq_rel: release publishes that our reads are done, acquire collects the same of the readers that left before us,
  // for the writer that we may let in.
  const std::int32_t left = leaving_.fetch_sub(1, std::memory_order_acq_rel) - 1;
  if (left == 0) return write_sema_.release();
  if (left != kGone) return;
  leaving_.store(0, std::memory_order_relaxed);  // relaxed: the next writer's comes after our unlock(), by writer_
  unlock();                                      // keeps I5
}

#ifdef HEDDLE_DCHECKS
RWMutex::~RWMutex() {
  // relaxed: whoever destroys it has seen all others leave.
  const std::int32_t readers = readers_.load(std::memory_order_relaxed);
  if (readers != 0) fatal("RWMutex: destroyed while locked for %s", readers < 0 ? "writing" : "reading");
}
#endif

}  // namespace heddle
