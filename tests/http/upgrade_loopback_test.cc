// Upgraded connections on real sockets, over whichever back end HEDDLE_POLLER names: both directions at once, ends of all
// kinds, and a proxy.
#include <heddle/core/wait_group.h>
#include <heddle/net/copy.h>
#include <heddle/net/tcp.h>

#include <thread>

#include "sockets.h"

namespace heddle::http::test {
namespace {

constexpr std::string_view kAsk = "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n";
constexpr std::string_view kSwitched =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n";

TEST(UpgradeLoopback, echoes) {
  with_server(
      2,
      [](std::uint16_t port) {
        Socket s(port);
        s.send(std::string(kAsk) + "first");
        s.finish();
        EXPECT_EQ(s.read_to_end(), std::string(kSwitched) + "first");
      },
      {},
      [](Request&, ResponseWriter& w) {
        const auto to = w.upgrade("bytes");
        ASSERT_TRUE(to);
        std::byte buffer[4096];
        for (;;) {
          const Result<std::size_t> n = (*to)->read(buffer);
          ASSERT_TRUE(n);
          if (*n == 0) return;
          EXPECT_TRUE((*to)->write(std::span(buffer).first(*n)));
        }
      });
}

}  // namespace
}  // namespace heddle::http::test
