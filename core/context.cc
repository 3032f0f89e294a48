// Cancelling, and the ends of nodes.
//
//   cancel     one node at a time: under its lock it becomes done and lets go of its children; without any lock it
//   leaves its
//              parent's list, its timer is stopped, its channel closed, its functions are started. Its children go
//              before all other work, in their order: so the walk is the tree's pre-order (context.h I2, I3).
//
// I1. `link` of a child is guarded by the lock of its `up`, the node in whose list it stands. A child is taken out of
//     the list once: by its parent's cancel, its own, a stop, or its death. `next_work` is the business of who took it
//     out.
// I2. The list does not keep a context. So who takes one out of it takes a reference as well, if the count is not 0
//     yet; at 0 the node is dying on another thread, which waits for this lock to leave the list.
// I3. `done` and `state` change under the lock; who comes second of the one that makes the channel and the one that
//     ends the context, closes the channel.
// I4. The deadline's timer holds no reference, or a context would live till its deadline. The node's end settles it.
#include <heddle/core/context.h>

#include <exception>

#include <heddle/core/check.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/done_waiter.h>
#include <heddle/core/internal/lazy_timer.h>
#include <heddle/core/lock.h>
#include <heddle/core/park.h>

namespace heddle {
namespace detail {
namespace {

using Link = ContextLink;

}  // namespace

struct AfterNode : Link {
  AfterNode(Context c, AfterFunction* f) noexcept : Link(Kind::kFunction), ctx(std::move(c)), function(f) {}

  std::atomic<std::uint32_t> refs{1};  // the handle; the list, then the goroutine
  const Context ctx;
  AfterFunction* const function;
  bool stopped = false;  // of one whose context is never done; the handle's
};

struct CancelNode : ContextNode, Link {
  CancelNode(ContextNode* p, std::int64_t until, void (*d)(ContextNode*) noexcept) noexcept
      : ContextNode(p, d), Link(Kind::kContext), up(p == nullptr ? nullptr : p->cancels), deadline(until) {
    cancels = this;
    if (up != nullptr && up->deadline < deadline) deadline = up->deadline;
  }

  // Constant.
  CancelNode* const up;   // the nearest ancestor that can be done; parent keeps it
  std::int64_t deadline;  // its own or an ancestor's; kNever: none
  LazyTimer* timer = nullptr;
  Error timeout_cause{Code::kTimeout, 0, "context"};

  RawMutex lock{LockRank::kContext};
  std::atomic<Code> state{Code::kOk};  // written under lock
  // Guarded by lock. `cause` is constant once `state` is not kOk, `done` once it is there.
  Error cause;
  Chan<Done> done;
  Link children{Kind::kContext};  // the ring's head; context.h I2 is its order

  CancelNode* next_work = nullptr;  // in a cancel's list
};

namespace {

void link_last(CancelNode& up, Link& link) noexcept {
  Link& head = up.children;
  if (head.next == nullptr) head.next = head.prev = &head;
  link.prev = head.prev;
  link.next = &head;
  head.prev->next = &link;
  head.prev = &link;
  link.linked = true;
}

void unlink(Link& link) noexcept {
  if (!link.linked) return;
  link.prev->next = link.next;
  link.next->prev = link.prev;
  link.linked = false;
}

bool try_ref(ContextNode& n) noexcept {
  std::uint32_t refs = n.refs.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  do {
    if (refs == 0) return false;
    // relaxed: the node is live, and published by the list's lock or the timer.
  } while (!n.refs.compare_exchange_weak(refs, refs + 1, std::memory_order_relaxed));
  return true;
}

void after_unref(AfterNode* n) noexcept {
  // acq_rel: the last one sees what the others did with the function; their releases pair with its acquire.
  if (n->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  n->function->destroy(n->function);
  delete n;
}

// The caller's reference goes to the goroutine.
void start_function(AfterNode* n) noexcept {
  struct Held {
    AfterNode* node;
    ~Held() { after_unref(node); }
  };
  try {
    go(
        GoOptions{},
        [n] {
          const Held held{n};  // also if the function ends by goexit()
          n->function->call(n->function);
        },
        n->function->site);
  } catch (const std::exception& e) {
    fatal("after_func: cannot start the goroutine: %s", e.what());
  }
}

// What a node's end leaves to do without its lock.
struct Ended {
  CancelNode* first = nullptr;  // children, by next_work, each with a reference
  CancelNode* last = nullptr;
  Link* functions = nullptr;  // by next, each with the list's reference
  Link* waiters = nullptr;    // by next: DoneWaiters whose goroutines are ours to ready
  Chan<Done> done;
};

// Makes `n` done. False: it was already.
bool end(CancelNode& n, Code code, const Error& cause, Ended* ended) noexcept {
  LockGuard guard(n.lock);
  if (n.state.load(std::memory_order_relaxed) != Code::kOk) return false;  // relaxed: under the lock
  n.cause = cause;
  n.state.store(code, std::memory_order_release);  // release: with the cause; pairs with err() and cause()
  ended->done = n.done;
  Link** functions_end = &ended->functions;
  Link** waiters_end = &ended->waiters;
  for (Link* l = n.children.next; l != nullptr && l != &n.children;) {
    Link* next = l->next;
    l->linked = false;
    if (l->kind == Link::Kind::kFunction) {
      *functions_end = l;
      l->next = nullptr;
      functions_end = &l->next;
    } else if (l->kind == Link::Kind::kWaiter) {
      if (auto* w = static_cast<DoneWaiter*>(l); w->waiter.try_call_off(&w->g)) {
        *waiters_end = w;
        w->next = nullptr;
        waiters_end = &w->next;
      }
    } else if (auto* child = static_cast<CancelNode*>(l); try_ref(*child)) {  // keeps I2
      child->next_work = nullptr;
      (ended->last != nullptr ? ended->last->next_work : ended->first) = child;
      ended->last = child;
    }
    l = next;
  }
  n.children.next = n.children.prev = nullptr;
  return true;
}

// The next link is read first: a goroutine that is readied takes its place away.
void ready_waiters(Link* l) noexcept {
  while (l != nullptr) {
    G* g = static_cast<DoneWaiter*>(l)->g;
    l = l->next;
    ready_tail(g);
  }
}

void leave_parent(CancelNode& n) noexcept {
  if (n.up == nullptr) return;
  LockGuard guard(n.up->lock);
  unlink(n);
}

// Takes over a reference to `n`, whose own next_work is not ours: an ancestor's cancel may have it in its list (I1).
void cancel_tree(CancelNode* n, Code code, const Error& cause) noexcept {
  CancelNode* work = nullptr;
  for (CancelNode* at = n; at != nullptr;) {
    Ended ended;
    if (end(*at, code, cause, &ended)) {
      leave_parent(*at);
      if (at->timer != nullptr) static_cast<void>(lazy_timer_stop(*at->timer));
      if (ended.done) ended.done.close();
      ready_waiters(ended.waiters);
      if (ended.last != nullptr) {
        ended.last->next_work = work;
        work = ended.first;
      }
      while (Link* f = ended.functions) {
        ended.functions = f->next;
        start_function(static_cast<AfterNode*>(f));
      }
    }
    CancelNode* next = work;
    if (next != nullptr) work = next->next_work;
    context_unref(at);
    at = next;
  }
}

void cancel(CancelNode* n, Code code, const Error& cause) noexcept {
  // acquire: a context that is done needs no work list; pairs with end().
  if (n->state.load(std::memory_order_acquire) != Code::kOk) return;
  context_ref(n);
  cancel_tree(n, code, cause);
}

// On the scheduler's side. The tree is cancelled on a goroutine: freeing a node takes malloc's lock.
void deadline_has_come(TimerNode* timer) {
  auto* n = static_cast<CancelNode*>(static_cast<LazyTimer*>(timer)->arg);
  if (!try_ref(*n)) return;  // keeps I4: it is about to settle this timer
  try {
    go([n] { cancel_tree(n, Code::kTimeout, n->timeout_cause); });
  } catch (const std::exception& e) {
    fatal("context: cannot start the goroutine that ends it: %s", e.what());
  }
}

void destroy_cancel(ContextNode* node) noexcept {
  auto* n = static_cast<CancelNode*>(node);
  leave_parent(*n);
  if (n->timer != nullptr) {
    static_cast<void>(lazy_timer_stop(*n->timer));
    lazy_timer_settle(*n->timer);
    lazy_timer_free(n->timer);
  }
  // relaxed: nobody else has the node.
  if (n->state.load(std::memory_order_relaxed) == Code::kOk && n->done) n->done.close();  // keeps context.h I4
  delete n;
}

// Into the tree; done at once if the nearest that can be done is.
void attach(CancelNode& n) noexcept {
  if (n.up == nullptr) return;
  Code code = Code::kOk;
  Error cause;
  {
    LockGuard guard(n.up->lock);
    code = n.up->state.load(std::memory_order_relaxed);  // relaxed: under the lock
    if (code == Code::kOk) {
      link_last(*n.up, n);
    } else {
      cause = n.up->cause;
    }
  }
  if (code != Code::kOk) cancel(&n, code, cause);
}

CancelNode* new_node(const Context& parent, std::int64_t deadline) {
  auto* n = new CancelNode(parent.node(), deadline, &destroy_cancel);
  context_ref(parent.node());
  return n;
}

}  // namespace

void context_unref(ContextNode* n) noexcept {
  // acq_rel: the last reference sees all that was done through the others; their releases pair with its acquire.
  while (n != nullptr && n->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    ContextNode* parent = n->parent;
    n->destroy(n);
    n = parent;  // its child's reference: not by recursion, however long the chain (context.h I5)
  }
}

AfterNode* context_after(const Context& ctx, AfterFunction* f) {
  AfterNode* n = nullptr;
  try {
    n = new AfterNode(ctx, f);
  } catch (...) {
    f->destroy(f);
    throw;
  }
  if (!ctx.can_be_done()) return n;
  CancelNode& node = *ctx.node()->cancels;
  n->refs.store(2, std::memory_order_relaxed);  // relaxed: not published yet
  {
    LockGuard guard(node.lock);
    // relaxed: under the lock.
    if (node.state.load(std::memory_order_relaxed) == Code::kOk) {
      link_last(node, *n);
      return n;
    }
  }
  start_function(n);
  return n;
}

DoneWaiter::DoneWaiter(const Context& ctx, Waiter& w) noexcept : ContextLink(Kind::kWaiter), waiter(w), ctx_(ctx) {
  if (!ctx_.can_be_done()) return;
  CancelNode& node = *ctx_.node()->cancels;
  {
    LockGuard guard(node.lock);
    // relaxed: under the lock.
    if (node.state.load(std::memory_order_relaxed) == Code::kOk) link_last(node, *this);
    if (linked) return;
  }
  waiter.call_off();
}

void DoneWaiter::leave() noexcept {
  if (!ctx_.can_be_done()) return;
  LockGuard guard(ctx_.node()->cancels->lock);
  unlink(*this);
}

Error done_error(const Context& ctx, const char* op) noexcept {
  Error e = ctx.err().value_or(Error{Code::kCanceled, 0, op});
  e.op = op;
  return e;
}

}  // namespace detail

std::optional<Error> Context::err() const noexcept {
  if (!can_be_done()) return std::nullopt;
  // acquire: who sees it done sees what its canceller did before; pairs with end().
  const Code code = node_->cancels->state.load(std::memory_order_acquire);
  if (code == Code::kOk) return std::nullopt;
  return Error{code, 0, "context"};
}

std::optional<Error> Context::cause() const noexcept {
  if (!err()) return std::nullopt;
  return node_->cancels->cause;
}

std::optional<TimePoint> Context::deadline() const noexcept {
  if (!can_be_done() || node_->cancels->deadline == kNever) return std::nullopt;
  return TimePoint(std::chrono::duration_cast<Clock::duration>(Duration(node_->cancels->deadline)));
}

RecvChan<Done> Context::done() const {
  if (!can_be_done()) return {};
  detail::CancelNode& n = *node_->cancels;
  {
    LockGuard guard(n.lock);
    if (n.done) return n.done;
  }
  auto fresh = make_chan<Done>();  // without the lock: it takes malloc's
  Code code = Code::kOk;
  {
    LockGuard guard(n.lock);
    if (n.done) return n.done;
    n.done = fresh;
    code = n.state.load(std::memory_order_relaxed);  // relaxed: under the lock
  }
  if (code != Code::kOk) fresh.close();
  return fresh;
}

const void* Context::find(const void* key) const noexcept {
  for (const detail::ContextNode* n = node_; n != nullptr; n = n->parent) {
    if (n->key == key) return n->value;
  }
  return nullptr;
}

void CancelFunc::operator()() const noexcept { (*this)(Error{Code::kCanceled, 0, "context"}); }

void CancelFunc::operator()(Error cause) const noexcept {
  detail::cancel(ctx_.node()->cancels, Code::kCanceled, cause);
}

StopFunc::~StopFunc() {
  if (node_ != nullptr) detail::after_unref(node_);
}

bool StopFunc::operator()() noexcept {
  if (!node_->ctx.can_be_done()) return !std::exchange(node_->stopped, true);
  {
    LockGuard guard(node_->ctx.node()->cancels->lock);
    if (!node_->linked) return false;
    detail::unlink(*node_);
  }
  detail::after_unref(node_);  // the list's; the handle has its own
  return true;
}

ContextAndCancel with_cancel(const Context& parent) {
  detail::CancelNode* n = detail::new_node(parent, kNever);
  Context ctx(n);
  detail::attach(*n);
  return {ctx, CancelFunc(ctx)};
}

ContextAndCancel with_deadline(const Context& parent, TimePoint deadline) {
  return with_deadline_cause(parent, deadline, Error{Code::kTimeout, 0, "context"});
}

ContextAndCancel with_deadline_cause(const Context& parent, TimePoint deadline, Error cause) {
  const std::int64_t until = to_nanos(deadline);
  detail::CancelNode* n = detail::new_node(parent, until);
  Context ctx(n);
  n->timeout_cause = cause;
  // Not if an ancestor's deadline comes first.
  const bool own = until != kNever && (n->up == nullptr || until < n->up->deadline);
  const bool past = until <= nanotime();
  if (own && !past) n->timer = lazy_timer_new(&detail::deadline_has_come, static_cast<void*>(n));
  detail::attach(*n);
  if (past) {
    detail::cancel(n, Code::kTimeout, cause);
  } else if (n->timer != nullptr) {
    static_cast<void>(lazy_timer_arm(*n->timer, until));
    // An ancestor's cancel may have come before there was a timer to stop.
    if (ctx.err()) static_cast<void>(lazy_timer_stop(*n->timer));
  }
  return {ctx, CancelFunc(ctx)};
}

ContextAndCancel with_timeout(const Context& parent, Duration timeout) {
  return with_timeout_cause(parent, timeout, Error{Code::kTimeout, 0, "context"});
}

ContextAndCancel with_timeout_cause(const Context& parent, Duration timeout, Error cause) {
  const std::int64_t until = nanos_after(nanotime(), timeout);
  const TimePoint deadline =
      until == kNever ? kNoDeadline : TimePoint(std::chrono::duration_cast<Clock::duration>(Duration(until)));
  return with_deadline_cause(parent, deadline, cause);
}

Context without_cancel(const Context& parent) {
  auto* n = new detail::ContextNode(parent.node(), [](detail::ContextNode* node) noexcept { delete node; });
  detail::context_ref(parent.node());
  return Context(n);
}

bool sleep(const Context& ctx, Duration d) {
  if (!ctx.can_be_done()) {
    sleep(d);
    return true;
  }
  bool slept = false;
  if (!ctx.err()) select(on_done(ctx, [] {}), on_timeout(d, [&] { slept = true; }));
  return slept;
}

}  // namespace heddle
