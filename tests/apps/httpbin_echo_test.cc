// heddle-httpbin's /echo: bytes go both ways at once, in any framing, and leave nothing in the server's memory.
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>

#include <heddle/core/chan.h>
#include <heddle/core/go.h>
#include <heddle/core/wait_group.h>

#include "httpbin_util.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HEDDLE_TEST_SANITIZED 1
#else
#define HEDDLE_TEST_SANITIZED 0
#endif

namespace heddle::test {
namespace {

using http::Client;
using http::Method;
using http::RequestBody;

http::ClientRequest echo_request(const Httpbin& server, RequestBody body) {
  http::ClientRequest request;
  request.method = Method::kPost;
  request.url = *http::Url::parse(server.url() + "/echo");
  request.body = std::move(body);
  return request;
}

// The most memory that the process has had, in bytes: "VmHWM:   12704 kB".
std::int64_t peak_memory(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string word; status >> word;) {
    std::int64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib * 1024;
  }
  ADD_FAILURE() << "no VmHWM";
  return 0;
}

// FNV-1a, of 64-bit words: as many bytes a nanosecond as the test needs.
struct Hash {
  std::uint64_t value = 0xcbf29ce484222325;
  std::uint64_t bytes = 0;
  std::uint64_t word = 0;
  void add(std::span<const std::byte> data) {
    for (const std::byte b : data) {
      word = word << 8 | std::to_integer<std::uint64_t>(b);
      if (++bytes % 8 == 0) value = (value ^ word) * 0x100000001b3;
    }
  }
  friend bool operator==(const Hash&, const Hash&) = default;
};

// Bytes that differ at every place in which a copy could slip: xorshift64.
RequestBody made_up(std::uint64_t size, Hash* hash, bool announced) {
  struct Maker {
    std::uint64_t left;
    std::uint64_t state = 88'172'645'463'325'252;
  };
  auto maker = std::make_shared<Maker>(Maker{size});
  return RequestBody::callback(
      [maker, hash](std::span<std::byte> to) -> Result<std::size_t> {
        const std::size_t n = std::min<std::uint64_t>(maker->left, to.size());
        for (std::size_t i = 0; i < n; ++i) {
          if (i % 8 == 0) {
            maker->state ^= maker->state << 13;
            maker->state ^= maker->state >> 7;
            maker->state ^= maker->state << 17;
          }
          to[i] = static_cast<std::byte>(maker->state >> (i % 8 * 8) & 0xff);
        }
        maker->left -= n;
        hash->add(to.first(n));
        return n;
      },
      announced ? std::optional(size) : std::nullopt);
}

Hash hash_of(http::ClientResponse& response) {
  Hash hash;
  std::vector<std::byte> buf(64 * 1024);
  for (;;) {
    const Result<std::size_t> n = response.read(buf);
    EXPECT_TRUE(n) << n.error().message();
    if (!n || *n == 0) return hash;
    hash.add(std::span(buf).first(*n));
  }
}

TEST(HttpbinEcho, a_body_comes_back_with_its_type_and_framing) {
  run([] {
    Httpbin server;
    Client client(plain_options());
    for (const bool announced : {true, false}) {
      for (const std::uint64_t size : {0, 1, 4095, 65'536, 65'537, 300'000}) {
        Hash sent;
        http::ClientRequest request = echo_request(server, made_up(size, &sent, announced));
        ASSERT_TRUE(request.headers.set("Content-Type", "x/y; z=1"));
        Result<http::ClientResponse> response = client.send(request);
        ASSERT_TRUE(response) << response.error().message();
        EXPECT_EQ(response->status(), 200);
        EXPECT_EQ(response->header("Content-Type"), "x/y; z=1");
        if (announced) {
          EXPECT_EQ(response->content_length(), size);
        }
        EXPECT_EQ(hash_of(*response), sent) << size;
        EXPECT_EQ(sent.bytes, size);
      }
    }
    EXPECT_EQ(client.stats().open, 1u);
    client.close_idle();
    EXPECT_EQ(server.stop(), 0);
  });
}

// Who sends the next piece only when the last has come back needs a server that keeps none.
TEST(HttpbinEcho, each_piece_comes_back_before_the_next_is_sent) {
  run([] {
    Httpbin server;
    Client client(plain_options());
    for (const bool announced : {true, false}) {
      constexpr int kPieces = 50;
      auto pieces = make_chan<std::string>();
      const RequestBody body = RequestBody::callback(
          [pieces](std::span<std::byte> to) -> Result<std::size_t> {
            const auto piece = pieces.recv();
            if (!piece) return std::size_t{0};
            std::copy_n(std::as_bytes(std::span(*piece)).data(), piece->size(), to.data());
            return piece->size();
          },
          announced ? std::optional<std::uint64_t>(kPieces * 7) : std::nullopt);
      auto responses = make_chan<std::shared_ptr<http::ClientResponse>>(1);
      go([&client, request = echo_request(server, body), responses] {
        Result<http::ClientResponse> response = client.send(request);
        EXPECT_TRUE(response);
        if (response) responses.send(std::make_shared<http::ClientResponse>(std::move(*response)));
        responses.close();
      });
      std::shared_ptr<http::ClientResponse> response;
      for (int i = 0; i < kPieces; ++i) {
        const std::string piece = "piece" + std::to_string(10 + i);
        pieces.send(piece);
        if (response == nullptr) {
          const auto got = responses.recv();
          ASSERT_TRUE(got);
          response = *got;
        }
        std::string back(piece.size(), '\0');
        for (std::size_t at = 0; at < back.size();) {
          const auto n = response->read(std::as_writable_bytes(std::span(back).subspan(at)));
          ASSERT_TRUE(n && *n != 0);
          at += *n;
        }
        EXPECT_EQ(back, piece);
      }
      pieces.close();
      EXPECT_EQ(response->read_all(1), "");
    }
    client.close_idle();
    EXPECT_EQ(server.stop(), 0);
  });
}

TEST(HttpbinEcho, sixty_four_mebibytes_come_back_and_the_server_does_not_grow) {
  run([] {
    Httpbin server;
    Client client(plain_options());
    Hash warm;
    Result<http::ClientResponse> first = client.send(echo_request(server, made_up(100'000, &warm, true)));
    ASSERT_TRUE(first);
    EXPECT_EQ(hash_of(*first), warm);
    const std::int64_t before = peak_memory(server.pid());

    Hash sent;
    Result<http::ClientResponse> response = client.send(echo_request(server, made_up(64 << 20, &sent, true)));
    ASSERT_TRUE(response) << response.error().message();
    EXPECT_EQ(hash_of(*response), sent);
    EXPECT_EQ(sent.bytes, std::uint64_t{64 << 20});
    const std::int64_t grown = peak_memory(server.pid()) - before;
    if (!HEDDLE_TEST_SANITIZED) {  // a sanitizer keeps what is freed
      EXPECT_LE(grown, 16 << 20);
    }
    RecordProperty("grown_bytes", std::to_string(grown));
    client.close_idle();
    EXPECT_EQ(server.stop(), 0);
  });
}

}  // namespace
}  // namespace heddle::test
