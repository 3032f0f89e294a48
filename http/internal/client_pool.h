// ClientPool: which connections there are to each origin, who may have one, and who waits.
//
//              acquire()                       keep()
//     nobody ------------> leased (or dialing) -----------> idle --- expiry, eviction, close_idle() ---> closed
//                              |      ^                       |
//                       ~Lease |      '------- acquire() -----'
//                              v
//                            closed
//
// I1. A Lease is the right to one connection; its slot is counted in its origin and in all, whether the connection is there
//     yet or not. Idle ones are counted too. So open connections never exceed either limit.
// I2. After each operation no waiter stands in the queue that could be served: each frees one slot or one connection at
//     most, and serves the first waiter that it helps. So a newcomer that is served at once overtakes nobody who could be.
// I3. A grant is put into its waiter's channel by whoever took the waiter off the queue. A waiter whose context ended while it
//     was taken off finds the grant there, and gives it back.
// I4. An idle connection is nobody's: no byte of a response is unread, no goroutine reads or writes it, and no deadline is set.
// I5. Connections are closed when lock_ is released: a Dead list is declared before the guard, and so ends after it. Waiters are
//     readied under it: they do not take it on their way out. A Lease's end takes lock_, a Mutex that parks for some
//     instructions of others; it waits for no peer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <heddle/core/chan.h>
#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/mutex.h>
#include <heddle/core/timer.h>
#include <heddle/http/internal/client_conn.h>

namespace heddle::http {

struct PoolLimits {
  std::size_t per_origin = 64;
  std::size_t in_all = 1024;
  std::size_t idle_per_origin = 16;
  Duration idle_timeout{};  // <= 0: none
};

struct PoolCounts {
  std::size_t open = 0;  // leased, dialing or idle
  std::size_t idle = 0;
  std::size_t waiting = 0;
};

class ClientPool : public std::enable_shared_from_this<ClientPool> {
  struct Origin;

 public:
  /// Movable; one that was moved from stands for nothing. Its end gives the slot back and closes the connection, if it has one.
  class Lease {
   public:
    Lease() noexcept = default;
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&& other) noexcept;
    ~Lease() { give_up(); }

    /// The connection; null: the holder is to dial one, and puts it here.
    std::shared_ptr<ClientConn> conn;

    /// Takes another idle connection of this origin in place of ours; false if there is none.
    [[nodiscard]] bool next_idle();
    /// Puts the connection in the pool (I4), or closes it if there is enough. The lease is over.
    void keep();
    void give_up() noexcept;

   private:
    friend class ClientPool;
    Lease(std::shared_ptr<ClientPool> pool, Origin* origin, std::shared_ptr<ClientConn> c) noexcept
        : conn(std::move(c)), pool_(std::move(pool)), origin_(origin) {}

    std::shared_ptr<ClientPool> pool_;
    Origin* origin_ = nullptr;
  };

  explicit ClientPool(const PoolLimits& limits) : limits_(limits) {}

  /// A lease for `origin`; parks while a limit is reached, in line. Errors: ctx.err()'s code; kClosed after shut().
  [[nodiscard]] Result<Lease> acquire(const Context& ctx, const std::string& origin);

  void close_idle();
  /// No connection is kept any more; who waits gets kClosed. Leases that are out end as ever.
  void shut();

  [[nodiscard]] PoolCounts counts();

 private:
  struct Origin {
    std::string name;
    std::size_t open = 0;
    std::size_t waiting = 0;
    bool pinned = false;                           // somebody who has the lock still refers to it
    std::deque<std::shared_ptr<ClientConn>> idle;  // the newest last
  };
  struct Grant {
    std::shared_ptr<ClientConn> conn;  // null: dial
    bool refused = false;              // the pool is shut
  };
  struct Waiter {
    Origin* origin;
    Chan<Grant> granted;
    bool queued = true;  // guarded by lock_
  };
  using Dead = std::vector<std::shared_ptr<ClientConn>>;  // to be closed when lock_ is released

  [[nodiscard]] Origin& origin_locked(const std::string& name);
  void forget_locked(Origin& origin);
  [[nodiscard]] std::optional<Grant> take_locked(Origin& origin, Dead& dead);
  void drop_locked(Origin& origin) noexcept;
  void evict_locked(Dead& dead);
  void serve_locked(Dead& dead);
  void serve_others_locked(Origin& origin, Dead& dead);
  static void give(Waiter& waiter, Grant grant);
  void put_idle_locked(Origin& origin, std::shared_ptr<ClientConn> conn);
  void arm_locked(Duration d);
  void expire();

  const PoolLimits limits_;
  Mutex lock_;
  // guarded by lock_
  std::unordered_map<std::string, std::unique_ptr<Origin>> origins_;
  std::list<Waiter*> queue_;
  std::size_t open_ = 0;
  std::size_t idle_ = 0;
  bool shut_ = false;
  bool armed_ = false;
  std::optional<FuncTimer> timer_;
};

}  // namespace heddle::http
