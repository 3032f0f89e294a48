// serve: accepts connections, runs a handler on a goroutine of its own for each, and ends in good order.
//
//     net::ServeStats stats = net::serve(ctx, listener, [](const Context& ctx, net::Conn& conn) {
//       std::byte buf[4096];
//       for (auto n = conn.read(buf); n && *n > 0; n = conn.read(buf)) {
//         if (!conn.write({buf, *n})) break;
//       }
//     }, {.max_connections = 10'000, .max_per_peer = 100});
//
// It returns when it has been stopped and all handlers have returned. The handler gets what the listener's accept()
// gives: a Conn& from a Listener, a UnixConn& from a UnixListener, a Transport& from what is known as a
// TransportListener& only. No call in between is virtual in the first two cases. It is called by many goroutines at
// once; its connection is closed when it returns.
//
//     kServing --ctx is done, or the listener was closed--> draining --read_grace--> kReadClosed --grace--> kCut
//
//     draining     the listener is closed; the handlers' context is done, with cause kCanceled, "drain"
//     kReadClosed  close_read() on every connection: who reads finds the end of the stream, behind what has come
//     kCut         close() on every connection
//
// I1. A connection is in the list from before its handler is called until it has returned; who ends a stage walks the
//     list under lock_, and who enters finds the stage under it: so each connection is told of each stage.
// I2. A handler is over, with all it owned, before its connection is closed, and that before its places (of all, of its
//     peer's) are given back: so there are never more connections than the limits say.
// I3. serve() leaves nothing behind: no goroutine that it started runs on when it returns.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include <heddle/core/chan.h>
#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/go.h>
#include <heddle/core/mutex.h>
#include <heddle/core/semaphore.h>
#include <heddle/core/task.h>
#include <heddle/core/wait_group.h>
#include <heddle/net/address.h>
#include <heddle/net/transport.h>

namespace heddle::net {

struct ServeOptions {
  /// Open at once. With so many, none is accepted until one has ended: the others wait in the kernel, which refuses
  /// them when its own queue is full. A listener that somebody closes meanwhile is noticed when one has ended; the
  /// context at once. 0: no limit.
  std::size_t max_connections = 65'536;

  /// Open at once from one peer: an IPv4 address, or the /64 network of an IPv6 address, of which one subscriber has
  /// all. More are closed as they are accepted. Connections without an address (over Unix sockets) are not counted. 0:
  /// no limit.
  std::size_t max_per_peer = 0;

  /// For handlers to go on reading after the drain began. Starts with the drain; negative: until the cut. What a peer
  /// sends over TCP after that stays unread, and makes the kernel reset the connection when it is closed: the last of
  /// what was sent to it may be lost then. So where peers talk unasked this is negative, and handlers heed their
  /// context and read to the peer's end (MessageConn::finish()).
  Duration read_grace = {};
  /// For handlers to end after the drain began. Starts with the drain; then connections are cut.
  Duration grace = std::chrono::seconds(10);

  GoOptions goroutine = {.name = "net.serve"};  ///< Of the handlers.

  // ---- hooks; they must not throw ----

  /// What a handler threw, on its goroutine; the connection is still open, and is closed then. Nothing but
  /// ServeStats::panics counts it by default.
  std::function<void(std::exception_ptr, Transport&)> on_panic = {};
  /// Why no connection could be accepted just now. It will be tried again.
  std::function<void(const Error&)> on_accept_error = {};
};

struct ServeStats {
  std::uint64_t accepted = 0;       // connections that got a handler
  std::uint64_t refused = 0;        // closed at once: over max_per_peer, or no goroutine was to be had
  std::uint64_t panics = 0;         // handlers that threw
  std::uint64_t accept_errors = 0;  // accepts that failed and were tried again
  std::size_t cut = 0;              // connections that were still open when the grace was over
};

namespace detail {

/// All of serve() that knows neither listener nor handler.
class ServeCore {
 public:
  ServeCore(const Context& ctx, const ServeOptions& options);
  ServeCore(const ServeCore&) = delete;
  ServeCore& operator=(const ServeCore&) = delete;

  /// The right to one more connection, and later that connection's place. Movable.
  class Place {
   public:
    Place(Place&& other) noexcept
        : core_(std::exchange(other.core_, nullptr)), taken_(other.taken_), peer_(std::move(other.peer_)) {}
    ~Place() {
      if (core_ != nullptr) core_->leave(*this);
    }

    /// It is `conn`'s now. False: that is one too many of its peer. Errors: std::bad_alloc.
    [[nodiscard]] bool take(const Transport& conn) { return core_->take(*this, conn); }

   private:
    friend class ServeCore;
    explicit Place(ServeCore* core) noexcept : core_(core) {}

    ServeCore* core_;  // null: moved from
    bool taken_ = false;
    std::optional<Address> peer_;  // in whose count it is
  };

  /// A connection whose handler runs; lies on its stack.
  class Running {
   public:
    Running(ServeCore& core, Transport& conn);
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

   private:
    friend class ServeCore;
    ServeCore& core_;
    Transport& conn_;
    Running* before_ = nullptr;  // guarded by core_.lock_, both
    Running* behind_ = nullptr;
  };

  // ---- the accept loop ----
  /// Parks until there may be one more connection. None: it is to stop.
  [[nodiscard]] std::optional<Place> next_place();
  void accepted() noexcept;
  /// False: the listener is closed. Else pauses: longer each time, but no longer than until a connection has ended.
  /// `lost`: one was accepted, and closed for want of memory.
  [[nodiscard]] bool failed(const Error& error, bool lost) noexcept;

  // ---- the handlers ----
  [[nodiscard]] const Context& handlers_context() const noexcept { return handlers_; }
  void panicked(std::exception_ptr exception, Transport& conn) noexcept;

  // ---- the end ----
  /// Parks until the handlers have ended. The accept loop has, and the listener is closed.
  [[nodiscard]] ServeStats drain();

  WaitGroup goroutines;  // the handlers'

 private:
  enum class Stage : std::uint8_t { kServing, kReadClosed, kCut };
  struct Hash {
    std::size_t operator()(const Address& peer) const noexcept;
  };

  bool take(Place& place, const Transport& conn);
  void leave(const Place& place) noexcept;
  [[nodiscard]] bool wait_for_handlers(TimePoint until);
  std::size_t enter_stage(Stage stage);

  // Constant.
  const Context ctx_;
  const ServeOptions& options_;  // of serve()'s caller
  const Context handlers_;
  const CancelFunc drain_;
  const Chan<Done> left_ = make_chan<Done>(1);  // holds one when a connection has ended lately

  std::optional<Semaphore> room_;  // none: no limit
  Duration pause_ = {};            // the accept loop's: how long the last one was
  ServeStats stats_;               // the accept loop's, but for panics and cut
  std::atomic<std::uint64_t> panics_{0};

  // Held over close_read() and close(), which may ready goroutines: they never park, and who is readied waits for no
  // lock then.
  Mutex lock_;
  Running* first_ = nullptr;  // guarded by lock_, as is what follows
  Stage stage_ = Stage::kServing;
  std::unordered_map<Address, std::size_t, Hash> peers_;  // connections of each; without max_per_peer: empty

  explicit ServeCore(const Context& ctx, const ServeOptions& options, ContextAndCancel made);
};

template <class Listener>
auto accept_from(Listener& listener) {
  if constexpr (requires { listener.accept(); }) {
    return listener.accept();
  } else {
    return listener.accept_transport();
  }
}

template <class Conn>
Transport& transport_of(Conn& conn) noexcept {
  return conn;
}
inline Transport& transport_of(std::unique_ptr<Transport>& conn) noexcept { return *conn; }

template <class Conn>
Conn& served(Conn& conn) noexcept {
  return conn;
}
inline Transport& served(std::unique_ptr<Transport>& conn) noexcept { return *conn; }

/// A handler's goroutine. In this order the connection is closed before its place is free, and counted until then:
/// keeps I2, I3.
template <class Conn, class Handler>
struct Served {
  struct Counted {
    WaitGroup* group;  // null: moved from
    explicit Counted(WaitGroup& g) noexcept : group(&g) { group->add(1); }
    Counted(Counted&& other) noexcept : group(std::exchange(other.group, nullptr)) {}
    ~Counted() {
      if (group != nullptr) group->done();
    }
  };
  Counted counted;
  ServeCore* core;
  Handler* handler;
  ServeCore::Place place;
  Conn conn;

  void operator()() {
    ServeCore::Running running(*core, transport_of(conn));
    std::exception_ptr thrown;
    try {
      (*handler)(core->handlers_context(), served(conn));
      return;
    } catch (...) {
      if (!heddle::detail::keep_exception(thrown)) throw;  // goexit(): ends it as a return does
    }
    core->panicked(std::move(thrown), transport_of(conn));
  }
};

}  // namespace detail

/// Serves connections of `listener` until `ctx` is done or somebody closes the listener; then drains, as the file's
/// opening has it.
///
/// `handler(ctx, conn)` serves one. Its context has the values of `ctx`, and is done when the drain begins. What it
/// throws concerns its connection alone; goexit() ends it as a return does. If the process is out of descriptors or
/// memory, accepting pauses for 5 ms, twice as long each time up to a second, or until a connection has ended; the
/// connections wait in the kernel.
///
/// Returns: when all handlers have. One that neither heeds its context nor its connection's end is waited for for ever.
/// Threads: a goroutine, which accepts. Lifetime: `listener`, `handler` and `options` are used until it returns; the
///          listener is closed then.
template <class Listener, class Handler>
ServeStats serve(const Context& ctx, Listener& listener, Handler&& handler, const ServeOptions& options = {}) {
  using Conn = typename decltype(detail::accept_from(listener))::value_type;
  using Called = std::remove_reference_t<Handler>;
  using Served = detail::Served<Conn, Called>;
  static_assert(std::is_invocable_v<Called&, const Context&, decltype(detail::served(std::declval<Conn&>()))>,
                "serve's handler takes (const Context&, Conn&), or a base of what the listener accepts");
  detail::ServeCore core(ctx, options);
  const Chan<Done> over = make_chan<Done>();
  WaitGroup watch;
  // Who accepts waits for no context: what ends its wait is the listener's end.
  watch.go([&] { select(on_done(ctx, [&] { listener.close(); }), on_recv(over, [] {})); });
  while (std::optional<detail::ServeCore::Place> place = core.next_place()) {
    Error error;
    bool lost = false;
    try {
      auto conn = detail::accept_from(listener);
      if (conn) {
        if (!place->take(detail::transport_of(*conn))) continue;  // and it is closed
        lost = true;
        go(options.goroutine, Served{typename Served::Counted(core.goroutines), &core, std::addressof(handler),
                                     *std::move(place), *std::move(conn)});
        core.accepted();
        continue;
      }
      error = conn.error();
    } catch (const std::bad_alloc&) {
      error = {Code::kNoResources, 0, "serve"};
    }
    place.reset();
    if (!core.failed(error, lost)) break;
  }
  over.close();
  watch.wait();
  listener.close();
  return core.drain();
}

}  // namespace heddle::net
