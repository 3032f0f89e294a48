// The channel's operations, each one section of the channel's lock: a step (chan_core.h), else queue up and park.
#include <heddle/core/chan.h>

#include <limits>
#include <memory>
#include <new>

#include <heddle/core/check.h>
#include <heddle/core/internal/chan_core.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/waits_for.h>
#include <heddle/core/park.h>

namespace heddle::detail {
namespace {

// Apart and cold, so that an operation that does not throw sets up nothing for it.
[[noreturn, gnu::cold, gnu::noinline]] void throw_panic(const char* text) { throw Panic(text); }

[[noreturn, gnu::cold]] void wait_forever(WaitReason reason) {
  const WaitsFor what;
  const WaitMark mark(must_current_g(to_string(reason)), what);
  for (;;) park(nullptr, nullptr, reason);  // published nowhere: nobody can ready it
}

// Queues the current G up and parks, releasing the lock. Returns Sudog::ok.
bool wait_in(WaitQueue& queue, ChanCore& c, void* value, const char* op, WaitReason reason) {
  Sudog self;
  self.g = must_current_g(op);
  self.value = value;
  queue.push_back(&self);
  const WaitsFor what{.kind = WaitKind::kChan, .object = &c, .queued = &self.queued};
  const WaitMark mark(self.g, what);
  park_unlock(c.lock, reason);
  return self.ok;
}

std::size_t buffer_offset(std::size_t align) noexcept { return (sizeof(ChanCore) + align - 1) / align * align; }

std::align_val_t block_align(std::size_t align) noexcept {
  return std::align_val_t{align > alignof(ChanCore) ? align : alignof(ChanCore)};
}

}  // namespace

ChanCore* chan_make(const ElemOps& ops, std::size_t capacity) {
  const std::size_t offset = buffer_offset(ops.align);
  if (capacity > (std::numeric_limits<std::size_t>::max() / 2 - offset) / ops.size) throw std::bad_array_new_length();
  const std::size_t behind = capacity == 0 ? 0 : sizeof(void*);  // ChanCore::end()
  void* block = ::operator new(offset + capacity * ops.size + behind, block_align(ops.align));
  return ::new (block) ChanCore(ops, capacity, static_cast<std::byte*>(block) + offset, sched.bubble != nullptr);
}

// relaxed: who copies a handle has one, so the count cannot reach 0 meanwhile.
void chan_ref(ChanCore* c) noexcept { c->refs.fetch_add(1, std::memory_order_relaxed); }

void chan_unref(ChanCore* c) noexcept {
  // acq_rel: the last handle sees all that was done through the others; their releases pair with its acquire.
  if (c->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (c->at_end != nullptr) c->at_end(*c);
  // Only goroutines that borrowed a handle can wait here still, and run() is about to abandon them, or has: their Sudogs point
  // at us, its end looks at us through them (forget_wait), and one whose time is up still takes itself out. So the memory stays.
  if (!c->senders.empty() || !c->receivers.empty()) return;
  for (std::size_t n = c->count_locked(); n > 0; --n) {
    c->ops->drop(c->slot(c->head));
    c->head = c->after(c->head);
  }
  const std::align_val_t align = block_align(c->ops->align);
  std::destroy_at(c);
  ::operator delete(c, align);
}

void chan_send(ChanCore* c, void* value) {
  if (c == nullptr) wait_forever(WaitReason::kChanSendNil);
  c->lock.lock();
  const Step step = send_step(*c, value);
  if (step.outcome == Outcome::kWouldWait) {
    if (!wait_in(c->senders, *c, value, "channel send", WaitReason::kChanSend)) throw_panic("send on closed channel");
    return;
  }
  c->lock.unlock();
  if (step.outcome == Outcome::kClosed) throw_panic("send on closed channel");
  finish_send(*c, step.partner, value);
}

bool chan_try_send(ChanCore* c, void* value) {
  if (c == nullptr || peek_send(*c) == Outcome::kWouldWait) return false;
  c->lock.lock();
  const Step step = send_step(*c, value);
  c->lock.unlock();
  if (step.outcome == Outcome::kClosed) throw_panic("send on closed channel");
  finish_send(*c, step.partner, value);
  return step.outcome == Outcome::kDone;
}

bool chan_recv(ChanCore* c, void* out) {
  if (c == nullptr) wait_forever(WaitReason::kChanReceiveNil);
  c->lock.lock();
  const Step step = recv_step(*c, out);
  if (step.outcome == Outcome::kWouldWait) {
    return wait_in(c->receivers, *c, out, "channel receive", WaitReason::kChanReceive);
  }
  c->lock.unlock();
  finish_recv(*c, step.partner, out);
  return step.outcome == Outcome::kDone;
}

TryRecv chan_try_recv(ChanCore* c, void* out) {
  if (c == nullptr) return TryRecv::kEmpty;
  Step step{peek_recv(*c)};
  if (step.outcome == Outcome::kDone) {
    c->lock.lock();
    step = recv_step(*c, out);
    c->lock.unlock();
    finish_recv(*c, step.partner, out);
  }
  switch (step.outcome) {
    case Outcome::kDone: return TryRecv::kValue;
    case Outcome::kClosed: return TryRecv::kClosed;
    case Outcome::kWouldWait: return TryRecv::kEmpty;
  }
  std::unreachable();
}

void chan_close(ChanCore* c) {
  if (c == nullptr) throw_panic("close of nil channel");
  c->lock.lock();
  if (c->closed_locked()) {
    c->lock.unlock();
    throw_panic("close of closed channel");
  }
  // release: a receive that finds it closed without the lock sees all that came before; pairs with peek_recv().
  c->closed.store(true, std::memory_order_release);
  // All waiters become ours (keeps I2), chained through `next` in the order they came.
  Sudog* first = nullptr;
  Sudog** end = &first;
  for (WaitQueue* queue : {&c->receivers, &c->senders}) {
    while (Sudog* sg = queue->pop_claimed()) {
      *end = sg;
      end = &sg->next;
    }
  }
  *end = nullptr;
  c->lock.unlock();
  while (first != nullptr) {
    Sudog* sg = first;
    first = sg->next;  // before complete(): sg is gone after it
    sg->complete(false, &ready_tail);
  }
}

std::size_t chan_len(const ChanCore* c) noexcept {
  // relaxed: a snapshot; stale by the time the caller looks at it anyway.
  return c == nullptr || c->looks_unbuffered ? 0 : c->count.load(std::memory_order_relaxed);
}

std::size_t chan_cap(const ChanCore* c) noexcept {
  return c == nullptr || c->looks_unbuffered ? 0 : c->capacity;
}

}  // namespace heddle::detail
