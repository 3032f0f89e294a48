// heddle-echo: sends back what comes, over TCP, Unix streams and UDP. One goroutine per connection, one per UDP socket.
#include <array>
#include <list>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include <heddle/core/go.h>
#include <heddle/core/mutex.h>
#include <heddle/core/wait_group.h>
#include <heddle/net/tcp.h>
#include <heddle/net/udp.h>
#include <heddle/net/unix.h>

#include "app.h"

namespace {

using heddle::net::Listener;
using heddle::net::Transport;
using heddle::net::UdpSocket;
using heddle::net::UnixListener;

// The connections that are open, so that a stop can end those that stay longer than the grace.
class Connections {
 public:
  template <class Conn>
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
    for (Transport* conn : open_) static_cast<void>(conn->close_read());
  }

  // Returns how many there were.
  std::size_t cut() {
    const std::lock_guard guard(lock_);
    for (Transport* conn : open_) conn->close();
    return open_.size();
  }

  [[nodiscard]] bool empty() {
    const std::lock_guard guard(lock_);
    return open_.empty();
  }

 private:
  heddle::Mutex lock_;
  std::unordered_set<Transport*> open_;  // guarded by lock_
};

template <class AnyListener>
void accept_all(AnyListener& listener, Connections& connections, heddle::WaitGroup& all) {
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
}

// One at a time, in the order of arrival: who cannot be answered is as if the answer were lost, as UDP has it.
void answer(UdpSocket& socket) {
  std::vector<std::byte> buffer(64 * 1024);  // the longest datagram there can be
  for (;;) {
    const auto got = socket.receive_from(buffer);
    if (got) {
      static_cast<void>(socket.send_to(std::span(buffer).first(got->size), got->from));
    } else if (got.error().code == heddle::Code::kClosed) {
      return;
    } else {
      heddle::sleep(std::chrono::milliseconds(50));  // out of memory, a network that is down: it may pass
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  heddle::apps::App app("heddle-echo", "sends back what comes over TCP, Unix sockets and UDP", {"127.0.0.1:7000"},
                        "off");
  bool udp = false;
  std::vector<std::string> paths;
  app.flags().add_flag("--udp", udp, "Answer datagrams too, at the addresses of --listen");
  app.flags()
      .add_option("--unix", paths, "Path of a Unix socket to serve too; @NAME is an abstract one. Repeatable.")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return app.run(argc, argv, [&] {
    Connections connections;
    std::list<Listener> listeners;
    std::list<UnixListener> unix_listeners;
    std::list<UdpSocket> sockets;
    heddle::WaitGroup all;
    std::vector<std::string> where;
    for (const auto& address : app.addresses()) {
      auto listener = heddle::net::listen(address);
      if (!listener) return app.failed(address.to_string(), listener.error());
      const auto bound = *listener->local_address();
      where.push_back("tcp://" + bound.to_string());
      listeners.push_back(std::move(*listener));
      if (!udp) continue;
      auto socket = heddle::net::bind_udp(bound);  // the port that TCP got, if the kernel picked it
      if (!socket && address.port() == 0) socket = heddle::net::bind_udp(address);
      if (!socket) return app.failed("udp " + bound.to_string(), socket.error());
      where.push_back("udp://" + socket->local_address()->to_string());
      sockets.push_back(std::move(*socket));
    }
    for (const std::string& path : paths) {
      const auto address = heddle::net::UnixAddress::parse(path);
      if (!address) return app.failed("--unix " + path, address.error());
      auto listener = heddle::net::listen_unix(*address);
      if (!listener) return app.failed("--unix " + path, listener.error());
      where.push_back("unix:" + listener->local_unix_address()->to_string());
      unix_listeners.push_back(std::move(*listener));
    }
    for (Listener& one : listeners) all.go([&] { accept_all(one, connections, all); });
    for (UnixListener& one : unix_listeners) all.go([&] { accept_all(one, connections, all); });
    for (UdpSocket& one : sockets) all.go([&] { answer(one); });
    app.ready(where);
    app.wait_for_stop();
    for (Listener& one : listeners) one.close();
    for (UnixListener& one : unix_listeners) one.close();
    for (UdpSocket& one : sockets) one.close();
    connections.close_reading();
    const auto until = heddle::now() + app.grace();
    while (!connections.empty() && heddle::now() < until) heddle::sleep(std::chrono::milliseconds(5));
    const std::size_t cut = connections.cut();
    all.wait();
    app.stopped(cut == 0);
    return 0;
  });
}
