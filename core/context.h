// Context: when to stop, and why, handed down from call to call. Go's package context, without a garbage collector.
//
//     auto [ctx, cancel] = with_timeout(parent, 2s);
//     go([ctx] { while (!ctx.err()) … });
//     select(on_recv(jobs, …), on_done(ctx, [] { … }));
//     cancel();
//
// A Context is a counted reference to a node. Nodes refer to their parents, which so outlive them; a parent knows its
// children, that it must cancel, by a list that does not keep them:
//
//     background <==== with_cancel <==== with_value <==== with_timeout        <====  strong: handle or child
//                          |                                   ^
//                          '--------------- weak list ---------'        a node leaves it when it is cancelled, or dies
//
// I1. There is no cycle of strong references, but one that is meant: a function registered by after_func() keeps its
//     context, which keeps the function, until the context is done or the function is stopped.
// I2. A context is done once, for one reason. Its descendants are done for the same reason, each after its parent;
//     those of one parent in the order in which they were made, each with all of its own descendants before the next.
// I3. Who cancels walks the tree with a list that runs through the nodes: no allocation, no recursion, at most one
//     node's lock held. No function of a user's runs there: those of after_func() get goroutines of their own.
// I4. A context whose last handle is dropped is cancelled, without functions: nobody can ask it, but who waits for the
//     channel that done() gave is let go. (In Go it would wait on until the deadline, or for ever.)
// I5. Contexts and their ends nest as deep as memory allows: no operation recurses.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>
#include <variant>

#include <heddle/core/chan.h>
#include <heddle/core/clock.h>
#include <heddle/core/error.h>
#include <heddle/core/select.h>

namespace heddle {

class Context;

/// The element of a done channel, of which there never is one: the channel is closed.
using Done = std::monostate;

namespace detail {

struct CancelNode;

/// What all nodes of the tree have.
struct ContextNode {
  ContextNode(ContextNode* p, void (*d)(ContextNode*) noexcept) noexcept : parent(p), destroy(d) {}

  std::atomic<std::uint32_t> refs{1};
  // Constant.
  ContextNode* const parent;                  // strong; null at the root
  CancelNode* cancels = nullptr;              // the nearest that can be done, itself included; null: never
  const void* key = nullptr;                  // of the value here
  const void* value = nullptr;
  void (*const destroy)(ContextNode*) noexcept;  // ends the node, not its parent
};

inline void context_ref(ContextNode* n) noexcept {
  // relaxed: who copies a reference has one, so the count cannot reach 0 meanwhile.
  if (n != nullptr) n->refs.fetch_add(1, std::memory_order_relaxed);
}
void context_unref(ContextNode* n) noexcept;

/// The address tells one key from another.
template <class Key>
inline constexpr char kKeyOf = 0;

template <class Key>
struct KeyValue {
  using Type = Key;
};
template <class Key>
  requires requires { typename Key::Value; }
struct KeyValue<Key> {
  using Type = typename Key::Value;
};

/// A function that waits for a context's end.
struct AfterNode;

}  // namespace detail

/// See the file's opening. Copying it copies a reference; a default-constructed one is the background.
///
/// Threads: any, also foreign ones; done(), and what waits, on goroutines or where Chan says so.
class Context {
 public:
  /// Never done, no values, no deadline. Costs nothing.
  Context() noexcept = default;
  [[nodiscard]] static Context background() noexcept { return {}; }

  explicit Context(detail::ContextNode* adopted) noexcept : node_(adopted) {}
  Context(const Context& other) noexcept : node_(other.node_) { detail::context_ref(node_); }
  Context(Context&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  Context& operator=(Context other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~Context() {
    if (node_ != nullptr) detail::context_unref(node_);
  }

  /// Why it is done: kCanceled, or kTimeout past its deadline; none as long as it is not. It may say so a moment before
  /// the done() channel does.
  [[nodiscard]] std::optional<Error> err() const noexcept;

  /// The cause that was given to the first cancel, its own or an ancestor's; err() if none was given.
  [[nodiscard]] std::optional<Error> cause() const noexcept;

  /// When it will be done by itself; none if there is no deadline.
  [[nodiscard]] std::optional<TimePoint> deadline() const noexcept;

  /// Closed when the context is done; the nil channel if it never can be. The same channel each time. Made when first
  /// asked for. Errors: std::bad_alloc. Lifetime: see I4.
  [[nodiscard]] RecvChan<Done> done() const;

  /// True if it can be done at all: it, or an ancestor, has a cancel or a deadline.
  [[nodiscard]] bool can_be_done() const noexcept { return node_ != nullptr && node_->cancels != nullptr; }

  /// The value that the nearest with_value<Key>() put there; nullptr if there is none. It lives as long as this handle.
  template <class Key>
  [[nodiscard]] const typename detail::KeyValue<Key>::Type* value() const noexcept {
    return static_cast<const typename detail::KeyValue<Key>::Type*>(find(&detail::kKeyOf<Key>));
  }

  /// For context.cc.
  [[nodiscard]] detail::ContextNode* node() const noexcept { return node_; }

 private:
  [[nodiscard]] const void* find(const void* key) const noexcept;

  detail::ContextNode* node_ = nullptr;
};

/// Cancels the context that it came with, and all below; the second time does nothing. To drop it cancels nothing.
///
/// Threads: any. On a foreign thread inside run() only, if functions wait for the context (after_func).
class CancelFunc {
 public:
  explicit CancelFunc(Context ctx) noexcept : ctx_(std::move(ctx)) {}

  /// err() will be kCanceled, and so will cause().
  void operator()() const noexcept;

  /// The same, with a cause of the caller's.
  void operator()(Error cause) const noexcept;

 private:
  Context ctx_;
};

struct ContextAndCancel {
  Context ctx;
  CancelFunc cancel;
};

/// A child of `parent` that can be cancelled. Already done if the parent is.
///
/// Call the cancel when the work is over: till then the context holds its place under its parent, unless all handles
/// are dropped. Errors: std::bad_alloc.
[[nodiscard]] ContextAndCancel with_cancel(const Context& parent);

/// The same; the name says that the caller means to give causes.
[[nodiscard]] inline ContextAndCancel with_cancel_cause(const Context& parent) { return with_cancel(parent); }

/// A child that is done at `deadline` at the latest, for kTimeout; the parent's deadline stands if it is earlier. One
/// in the past: done at once.
///
/// Threads: goroutines. Errors: std::bad_alloc.
[[nodiscard]] ContextAndCancel with_deadline(const Context& parent, TimePoint deadline);
/// The same; `cause` is the cause if the deadline ends it.
[[nodiscard]] ContextAndCancel with_deadline_cause(const Context& parent, TimePoint deadline, Error cause);

/// with_deadline(parent, now() + timeout).
[[nodiscard]] ContextAndCancel with_timeout(const Context& parent, Duration timeout);
[[nodiscard]] ContextAndCancel with_timeout_cause(const Context& parent, Duration timeout, Error cause);

/// A child with the parent's values that is not done when the parent is, and has no deadline.
[[nodiscard]] Context without_cancel(const Context& parent);

/// A child with a value under `Key`, a type that serves as name. The value's type is Key::Value if there is one, else
/// Key.
///
///     struct UserId { using Value = int; };
///     auto ctx = with_value<UserId>(parent, 7);      *ctx.value<UserId>() == 7
///
/// Errors: std::bad_alloc; what moving the value throws.
template <class Key>
[[nodiscard]] Context with_value(const Context& parent, typename detail::KeyValue<Key>::Type value) {
  struct Node : detail::ContextNode {
    Node(detail::ContextNode* p, typename detail::KeyValue<Key>::Type&& v)
        : ContextNode(p, [](detail::ContextNode* n) noexcept { delete static_cast<Node*>(n); }), held(std::move(v)) {}
    const typename detail::KeyValue<Key>::Type held;
  };
  auto* node = new Node(parent.node(), std::move(value));
  node->key = &detail::kKeyOf<Key>;
  node->value = &node->held;
  detail::context_ref(parent.node());
  if (parent.node() != nullptr) node->cancels = parent.node()->cancels;
  return Context(node);
}

/// Takes a function of after_func() back.
class [[nodiscard]] StopFunc {
 public:
  explicit StopFunc(detail::AfterNode* adopted) noexcept : node_(adopted) {}
  StopFunc(StopFunc&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  StopFunc& operator=(StopFunc&& other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~StopFunc();

  /// True: the function has not been started and will not be. It does not wait for one that runs.
  bool operator()() noexcept;

 private:
  detail::AfterNode* node_;
};

namespace detail {
/// What the mechanism knows of a registered function.
struct AfterFunction {
  void (*call)(AfterFunction* f) = nullptr;
  void (*destroy)(AfterFunction* f) noexcept = nullptr;
  std::source_location site;
};
/// Owns `f` from the call on.
[[nodiscard]] AfterNode* context_after(const Context& ctx, AfterFunction* f);
}  // namespace detail

/// Runs `fn()` on a goroutine of its own when `ctx` is done; at once if it is. The handle may be dropped.
///
/// Errors:   std::bad_alloc. If no stack can be had when the time comes, the process ends with a message.
/// Threads:  goroutines. Lifetime: I1; `fn` is destroyed when it has run or was stopped, with its last handle.
template <class Fn>
  requires std::is_invocable_v<std::decay_t<Fn>&>
StopFunc after_func(const Context& ctx, Fn&& fn, const std::source_location& site = std::source_location::current()) {
  struct Function : detail::AfterFunction {
    explicit Function(Fn&& f) : held(std::forward<Fn>(f)) {}
    std::decay_t<Fn> held;
  };
  auto* f = new Function(std::forward<Fn>(fn));
  f->call = [](detail::AfterFunction* a) { static_cast<Function*>(a)->held(); };
  f->destroy = [](detail::AfterFunction* a) noexcept { delete static_cast<Function*>(a); };
  f->site = site;
  return StopFunc(detail::context_after(ctx, f));
}

/// The case "`ctx` is done" of a select. Never ready if it cannot be. Lifetime: `ctx` must outlive the select.
template <class Fn>
[[nodiscard]] auto on_done(const Context& ctx, Fn&& fn) {
  static_assert(std::is_invocable_v<std::decay_t<Fn>&>, "on_done's function takes nothing");
  return on_recv(ctx.done(), std::forward<Fn>(fn));
}

/// Parks for `d`, or until `ctx` is done. Returns: true if it slept through.
[[nodiscard]] bool sleep(const Context& ctx, Duration d);

namespace detail {
[[nodiscard]] Error done_error(const Context& ctx, const char* op) noexcept;
}

/// ch.send(value), unless `ctx` is done before a receiver or the buffer has it.
///
/// Errors: ctx.err()'s code, "channel send"; if it is done already nothing is tried. Panic "send on closed channel".
template <class T, class Base>
[[nodiscard]] Result<void> send(const Context& ctx, const detail::Sends<T, Base>& ch, std::type_identity_t<T> value) {
  if (!ctx.can_be_done()) {
    ch.send(std::move(value));
    return {};
  }
  bool sent = false;
  if (!ctx.err()) select(on_done(ctx, [] {}), on_send(ch, std::move(value), [&] { sent = true; }));
  if (!sent) return std::unexpected(detail::done_error(ctx, "channel send"));
  return {};
}

/// ch.recv(), unless `ctx` is done before there is a value. Returns: none if the channel is closed and drained.
///
/// Errors: ctx.err()'s code, "channel receive"; if it is done already nothing is tried.
template <class T, class Base>
[[nodiscard]] Result<std::optional<T>> recv(const Context& ctx, const detail::Receives<T, Base>& ch) {
  if (!ctx.can_be_done()) return ch.recv();
  bool received = false;
  std::optional<T> out;
  if (!ctx.err()) {
    select(on_done(ctx, [] {}), on_recv(ch, [&](std::optional<T> v) {
             received = true;
             if (v) out.emplace(*std::move(v));
           }));
  }
  if (!received) return std::unexpected(detail::done_error(ctx, "channel receive"));
  return out;
}

}  // namespace heddle
