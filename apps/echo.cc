// heddle-echo: sends back what comes, over TCP, one goroutine per connection.
#include <array>
#include <list>
#include <mutex>
#include <unordered_set>

#include <heddle/core/go.h>
#include <heddle/core/mutex.h>
#include <heddle/core/wait_group.h>
#include <heddle/net/tcp.h>

#include "app.h"

namespace {

using heddle::net::Conn;
using heddle::net::Listener;

// The connections that are open, so that a stop can end those that stay longer than the grace.
class Connections {
 public:
  void serve(Conn conn) {
    {
      const std::lock_guard guard(lock_);
      open_.insert(&conn);
    }
    std::array<std::byte, 16 * 1024> buffer;
    for (;;) {
      const auto n = conn.read(buffer);
      if (!n || *n == 0) break;
      if (!conn.write(std::span(buffer).first(*n))) break;
    }
    const std::lock_guard guard(lock_);
    open_.erase(&conn);
  }

  // Readers see the end of the stream after what has come: what is under way is still echoed.
  void close_reading() {
    const std::lock_guard guard(lock_);
    for (Conn* conn : open_) static_cast<void>(conn->close_read());
  }

  // Returns how many there were.
  std::size_t cut() {
    const std::lock_guard guard(lock_);
    for (Conn* conn : open_) conn->close();
    return open_.size();
  }

  [[nodiscard]] bool empty() {
    const std::lock_guard guard(lock_);
    return open_.empty();
  }

 private:
  heddle::Mutex lock_;
  std::unordered_set<Conn*> open_;  // guarded by lock_
};

}  // namespace

int main(int argc, char** argv) {
  heddle::apps::App app("heddle-echo", "sends back what comes over TCP", {"127.0.0.1:7000"}, "off");
  return app.run(argc, argv, [&] {
    Connections connections;
    std::list<Listener> listeners;
    heddle::WaitGroup all;
    std::vector<std::string> where;
    for (const auto& address : app.addresses()) {
      auto listener = heddle::net::listen(address);
      if (!listener) return app.failed(address.to_string(), listener.error());
      where.push_back("tcp://" + listener->local_address()->to_string());
      listeners.push_back(std::move(*listener));
    }
    for (Listener& listener : listeners) {
      all.go([&] {
        for (;;) {
          auto conn = listener.accept();
          if (conn) {
            all.go([&connections, c = std::move(*conn)]() mutable { connections.serve(std::move(c)); });
          } else if (conn.error().code == heddle::Code::kNoResources) {
            heddle::sleep(std::chrono::milliseconds(50));  // out of descriptors: the connection waits in the kernel
          } else {
            return;  // closed
          }
        }
      });
    }
    app.ready(where);
    app.wait_for_stop();
    for (Listener& listener : listeners) listener.close();
    connections.close_reading();
    const auto until = heddle::now() + app.grace();
    while (!connections.empty() && heddle::now() < until) heddle::sleep(std::chrono::milliseconds(5));
    const std::size_t cut = connections.cut();
    all.wait();
    app.stopped(cut == 0);
    return 0;
  });
}
