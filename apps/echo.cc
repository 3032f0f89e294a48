// heddle-echo: sends back what comes, over TCP, Unix streams and UDP. One goroutine per connection, one per UDP socket.
#include <algorithm>
#include <atomic>
#include <list>
#include <string>
#include <vector>

#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/wait_group.h>
#include <heddle/net/buffer.h>
#include <heddle/net/serve.h>
#include <heddle/net/tcp.h>
#include <heddle/net/udp.h>
#include <heddle/net/unix.h>

#include "app.h"

namespace {

using heddle::Duration;
using heddle::net::Listener;
using heddle::net::UdpSocket;
using heddle::net::UnixAddress;
using heddle::net::UnixListener;

constexpr Duration kLastChance = std::chrono::milliseconds(500);  // as http::Server gives an idle connection

// Echoes until the peer ends, or, from when `stopping` is done, until it has been silent for `silence`: what is under way
// then, also in the network, is echoed.
template <class Conn>
void echo(const heddle::Context& stopping, Conn& conn, Duration silence) {
  // An idle connection holds no buffer, and with none in its frame a goroutine that waits has touched few pages.
  constexpr auto kSize = heddle::net::BufferSize::k16K;
  for (;;) {
    const bool ending = stopping.err().has_value();
    if (ending) conn.set_read_deadline(heddle::now() + silence);
    if (!conn.wait_readable(ending ? heddle::Context() : stopping)) {
      if (!ending && stopping.err()) continue;
      return;
    }
    const auto buffer = heddle::net::Buffer::take(kSize);
    const auto n = conn.read({buffer.data(), capacity_of(kSize)});
    if (!n || *n == 0) return;
    if (!conn.write({buffer.data(), *n})) return;
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
      .add_option("--unix", paths,
                  "The same as --listen unix:PATH, beside the default; @NAME is an abstract socket. Repeatable.")
      ->type_name("PATH")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return app.run(argc, argv, [&] {
    std::list<Listener> listeners;
    std::list<UnixListener> unix_listeners;
    std::list<UdpSocket> sockets;
    std::vector<std::string> where;
    std::vector<UnixAddress> local;
    for (const auto& endpoint : app.endpoints()) {
      if (endpoint.local() != nullptr) {
        local.push_back(*endpoint.local());
        continue;
      }
      const auto& address = *endpoint.ip();
      auto listener = heddle::net::listen(address, app.listen_options());
      if (!listener) return app.failed("--listen " + address.to_string(), listener.error());
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
      local.push_back(*address);
    }
    for (const UnixAddress& address : local) {
      auto listener = heddle::net::listen_unix(address);
      if (!listener) return app.failed("unix:" + address.to_string(), listener.error());
      where.push_back("unix:" + listener->local_unix_address()->to_string());
      unix_listeners.push_back(std::move(*listener));
    }
    // What drains the listeners leaves of the grace is for the connections.
    const Duration patience = std::min<Duration>(heddle::net::kHandshakePatience, app.grace() / 4);
    const heddle::net::ServeOptions options{.read_grace = Duration(-1), .grace = app.grace() - patience};
    const Duration silence = std::clamp<Duration>(app.grace() / 2, std::chrono::milliseconds(1), kLastChance);
    std::atomic<std::size_t> cut{0};
    const auto serve = [&](auto& listener) {
      const auto handler = [silence](const heddle::Context& stopping, auto& conn) { echo(stopping, conn, silence); };
      // relaxed: read behind the WaitGroup.
      cut.fetch_add(heddle::net::serve({}, listener, handler, options).cut, std::memory_order_relaxed);
    };
    heddle::WaitGroup all;
    for (Listener& one : listeners) all.go([&] { serve(one); });
    for (UnixListener& one : unix_listeners) all.go([&] { serve(one); });
    for (UdpSocket& one : sockets) all.go([&] { answer(one); });
    app.ready(where);
    app.wait_for_stop();
    for (Listener& one : listeners) all.go([&] { one.drain(patience); });
    for (UnixListener& one : unix_listeners) all.go([&] { one.drain(patience); });
    for (UdpSocket& one : sockets) one.close();
    all.wait();
    app.stopped(cut.load(std::memory_order_relaxed) == 0);
    return 0;
  });
}
