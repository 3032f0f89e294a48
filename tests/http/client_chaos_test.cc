// The client among servers that do anything: they answer early, late, twice or half, stop reading, hang, reset and close at any
// byte; and users who cancel, drop and close at any moment, over pools that are too small. In memory, by seeds: so an hour of
// time-outs takes no time, and a schedule that fails can be run again (core/test.h).
//
// What is conserved: an answer's body is of the request that got it, whole or visibly not; an error stays; no call outlives its
// context by an instant; pools keep their limits; and in the end nothing is left: no connection, no goroutine, nobody in line.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <heddle/core/context.h>
#include <heddle/core/test.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/client.h>
#include <heddle/http/cookie_jar.h>
#include <heddle/http/test_conn.h>
#include <heddle/http/test_faults.h>

#include "../net/net_test_util.h"

namespace heddle::http::test {
namespace {

using namespace std::chrono_literals;

bool any_failure() { return testing::Test::HasFailure(); }
std::size_t below(std::size_t n) { return static_cast<std::size_t>(heddle::test::random(n)); }
bool one_in(std::size_t n) { return below(n) == 0; }
Duration some(Duration most) {
  return Duration(static_cast<std::int64_t>(below(static_cast<std::size_t>(most.count()))));
}

/// `n` bytes that tell whose they are, wherever one looks.
std::string text_of(std::string_view id, std::size_t n) {
  std::string out;
  while (out.size() < n) out += id;
  out.resize(n);
  return out;
}

std::string head_of(std::string_view status, std::string_view fields) {
  return "HTTP/1.1 " + std::string(status) + "\r\n" + std::string(fields) + "\r\n";
}

std::string in_chunks(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, 1 + below(15));  // of one hex digit
    text.remove_prefix(piece.size());
    out.append(1, "0123456789abcdef"[piece.size()]).append("\r\n").append(piece).append("\r\n");
  }
  return out + "0\r\nX-Sum: 1\r\n\r\n";
}

/// One connection of a server without manners. Any step may find that the connection is over; then so is the server's part.
class Rogue {
 public:
  explicit Rogue(TestConn& conn) : conn_(conn) { conn_.set_deadline(now() + 1h); }

  void serve() {
    while (!one_in(20) && answer()) {
    }
    over();
  }

 private:
  void over() {
    if (one_in(2)) return conn_.reset();
    conn_.close();
  }

  // False: over.
  bool answer() {
    std::string head;
    if (!take_head(head) || one_in(20)) return false;
    const std::string id = field(head, "X-Id");
    const bool bodiless = head.starts_with("HEAD ");
    const bool chunked = !field(head, "Transfer-Encoding").empty();
    const std::string length = field(head, "Content-Length");
    bool body_due = chunked || (!length.empty() && length != "0");
    if (one_in(6)) heddle::sleep(some(3s));
    if (!field(head, "Expect").empty()) {
      if (one_in(4)) return say(head_of(one_in(2) ? "417 No" : "401 Who", "Content-Length: 0\r\n")) && false;
      if (!one_in(4) && !say(head_of("100 Continue", ""))) return false;
    }
    for (std::size_t hints = one_in(10) ? below(4) : 0; hints > 0; --hints) {
      if (!say(head_of("103 Hints", "Link: a\r\n"))) return false;
    }
    if (body_due && one_in(2)) {
      if (!take_body(id, length)) return false;
      body_due = false;
    }
    const bool last = one_in(8);
    const std::string connection = last ? "Connection: close\r\n" : "";
    const std::string body = text_of(id, one_in(3) ? below(60'000) : below(200));
    const std::string sent = bodiless ? "" : body;
    const std::string fixed = "Content-Length: " + std::to_string(body.size()) + "\r\n";
    switch (below(8)) {
      case 0:
      case 1:
        if (!say(head_of("200 OK", connection + fixed) + sent)) return false;
        break;
      case 2:
        if (!say(head_of("200 OK", connection + "Transfer-Encoding: chunked\r\n") + (bodiless ? "" : in_chunks(body))))
          return false;
        break;
      case 3: return say(head_of("200 OK", "") + sent) && false;
      case 4:
        if (!say(head_of("204 None", connection))) return false;
        break;
      case 5: {
        static constexpr std::array kStatus = {"301 R", "302 R", "303 R", "307 R", "308 R"};
        static constexpr std::array kTarget = {"/x", "http://b.test/y", "http://a.test/z"};
        const std::string location = std::string("Location: ") + kTarget[below(3)] + "\r\n";
        if (!say(head_of(kStatus[below(5)], connection + location + fixed) + sent)) return false;
        break;
      }
      case 6:  // of no use, or cut
        if (one_in(2)) return say(head_of("200 OK", fixed + "Transfer-Encoding: chunked\r\n")) && false;
        return say(head_of("200 OK", fixed) + sent.substr(0, body.size() / 2)) && false;
      default:  // what nobody asked for, some time behind the answer
        if (!say(head_of("200 OK", fixed) + sent)) return false;
        heddle::sleep(some(20ms));
        return say(head_of("408 Slow", "Connection: close\r\nContent-Length: 0\r\n")) && false;
    }
    if (last) {
      heddle::sleep(some(100ms));
      return false;
    }
    return !body_due || (one_in(2) && take_body(id, length));
  }

  static std::string field(const std::string& head, const std::string& name) {
    const std::size_t at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const std::size_t value = at + name.size() + 4;
    return head.substr(value, head.find("\r\n", value) - value);
  }

  bool take_head(std::string& head) { return take_line_end("\r\n\r\n", head); }
  bool take_line_end(std::string_view end, std::string& text) {
    std::size_t at = 0;
    while ((at = unread_.find(end)) == std::string::npos) {
      if (!more()) return false;
    }
    text = unread_.substr(0, at + end.size());
    unread_.erase(0, text.size());
    return true;
  }
  bool take(std::size_t n, std::string& text) {
    while (unread_.size() < n) {
      if (!more()) return false;
    }
    text += unread_.substr(0, n);
    unread_.erase(0, n);
    return true;
  }
  bool take_body(const std::string& id, const std::string& length) {
    std::string body;
    if (!length.empty()) {
      if (!take(std::stoul(length), body)) return false;
    } else {
      for (;;) {
        std::string line, end;
        if (!take_line_end("\r\n", line)) return false;
        const std::size_t size = std::stoul(line, nullptr, 16);
        if (size == 0) break;
        if (!take(size, body) || !take(2, end)) return false;
        EXPECT_EQ(end, "\r\n");
      }
      for (std::string line; line != "\r\n";) {
        if (!take_line_end("\r\n", line)) return false;
      }
    }
    EXPECT_TRUE(body == text_of(id, body.size())) << id << " has another's body: " << body.substr(0, 50);
    return true;
  }
  bool more() {
    std::array<std::byte, 4096> buf;
    const Result<std::size_t> n = conn_.read(buf);
    if (!n || *n == 0) return false;
    unread_.append(reinterpret_cast<const char*>(buf.data()), *n);
    return true;
  }
  // In pieces, and up to the byte at which this server breaks.
  bool say(std::string_view text) {
    while (!text.empty()) {
      const std::size_t n = std::min({text.size(), piece_, budget_});
      if (!conn_.write(bytes_of(text.substr(0, n)))) return false;
      text.remove_prefix(n);
      budget_ -= n;
      if (budget_ == 0) return false;
      if (piece_ != kWhole && one_in(8)) heddle::sleep(some(50ms));
    }
    return true;
  }

  static constexpr std::size_t kWhole = std::size_t{1} << 40;
  TestConn& conn_;
  std::string unread_;
  const std::size_t piece_ = one_in(4) ? 1 + below(500) : kWhole;
  std::size_t budget_ = one_in(3) ? 1 + below(3000) : kWhole;
};

/// A body's source that may be slow, and may fail in its middle; never read by two at once.
class Source final : public net::Reader {
 public:
  Source(std::string text, bool fails) : text_(std::move(text)), fails_(fails) {}

  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override {
    EXPECT_FALSE(std::exchange(busy_, true));
    if (one_in(10)) heddle::sleep(some(300ms));
    heddle::test::yield_point();
    busy_ = false;
    if (fails_ && at_ * 2 > text_.size()) return std::unexpected(Error{Code::kNotFound, 0, "source"});
    const std::size_t n = std::min({buf.size(), text_.size() - at_, 1 + below(20'000)});
    std::ranges::copy(bytes_of(std::string_view(text_).substr(at_, n)), buf.begin());
    at_ += n;
    return n;
  }

 private:
  const std::string text_;
  const bool fails_;
  std::size_t at_ = 0;
  bool busy_ = false;
};

RequestBody some_body(const std::string& id) {
  const std::string text = text_of(id, one_in(3) ? below(200'000) : below(3000));
  const bool fails = one_in(8);
  const auto open = [text, fails]() -> Result<std::shared_ptr<net::Reader>> {
    return std::make_shared<Source>(text, fails);
  };
  switch (below(5)) {
    case 0: return RequestBody::bytes(text);
    case 1: return RequestBody::stream(*open(), text.size());
    case 2: return RequestBody::stream(*open());
    case 3: return RequestBody::stream_from(open, text.size());
    default: return RequestBody::stream_from(open);
  }
}

/// One request with all that a user may do to it.
class Asker {
 public:
  Asker(Client& client, WaitGroup& cancels, const std::string& id) : client_(client), id_(id) {
    static constexpr std::array kMethods = {Method::kGet, Method::kHead,   Method::kPost,
                                            Method::kPut, Method::kDelete, Method::kOptions};
    static constexpr std::array kUrls = {"http://a.test/", "http://b.test/q?w=1", "http://c.test/"};
    request_.method = kMethods[below(kMethods.size())];
    request_.url = *Url::parse(kUrls[below(kUrls.size())]);
    EXPECT_TRUE(request_.headers.add("X-Id", id_));
    if (one_in(2)) request_.body = some_body(id_);
    request_.expect_continue = one_in(4);
    request_.close = one_in(8);
    if (one_in(3)) {
      const auto [ctx, cancel] = with_cancel({});
      const Duration d = some(300ms);
      request_.ctx = ctx;
      until_ = now() + d;
      cancels.go([cancel = cancel, d] {
        heddle::sleep(d);
        cancel();
      });
    } else if (one_in(2)) {
      const Duration d = some(4s);
      request_.ctx = with_timeout({}, d).ctx;
      until_ = now() + d;
    }
  }

  void ask() {
    Result<ClientResponse> response = client_.send(request_);
    EXPECT_LE(now(), until_);
    if (response) read(*response);
  }

 private:
  void read(ClientResponse& response) {
    std::vector<std::byte> buf(one_in(2) ? 1 + below(100) : 8192);
    const std::size_t most = one_in(4) ? below(5000) : SIZE_MAX;
    std::string body;
    Result<std::size_t> n = 1;
    while (body.size() < most && n && *n != 0) {
      n = response.read(buf);
      if (n) body.append(reinterpret_cast<const char*>(buf.data()), *n);
    }
    EXPECT_LE(now(), until_);
    EXPECT_TRUE(body == text_of(id_, body.size())) << id_ << " got " << body.substr(0, 50);
    if (!n) {
      EXPECT_EQ(response.read(buf).error().code, n.error().code);
    } else if (*n == 0) {
      EXPECT_EQ(response.read(buf), 0u);
      if (request_.method != Method::kHead) {
        EXPECT_EQ(response.content_length().value_or(body.size()), body.size());
      }
    }
    if (one_in(2)) response.close();
  }

  Client& client_;
  const std::string id_;
  ClientRequest request_;
  TimePoint until_ = kNoDeadline;
};

ClientOptions some_options(WaitGroup& servers) {
  ClientOptions options;
  options.proxy = nullptr;
  options.max_per_origin = 1 + below(3);
  options.max_connections = 1 + below(5);
  options.max_idle_per_origin = below(3);
  options.pool_timeout = some(2s) * static_cast<int>(below(2));  // zero: none
  options.idle_timeout = 1ms + some(one_in(3) ? 100ms : 10s);
  options.header_timeout = 500ms + some(5s);
  options.body_timeout = 500ms + some(5s);
  options.write_timeout = 500ms + some(5s);
  options.continue_timeout = 1ms + some(500ms);
  options.total_timeout = some(5s) * static_cast<int>(below(2));
  options.max_redirects = static_cast<int>(below(4));
  if (one_in(2)) options.cookies = std::make_shared<CookieJar>();
  Faults faults;
  if (one_in(3)) {
    faults = {.read_at_most = below(50), .write_at_most = 200 + below(2000)};
    if (one_in(2)) faults.read_delay = some(20ms);
    if (one_in(3)) faults.cut_read_after = below(4000);
    if (one_in(3)) faults.cut_write_after = below(4000);
    if (one_in(2)) faults.cut_by = CutBy::kEnd;
  }
  const std::size_t capacity = one_in(2) ? 65'536 : 1 + below(5000);
  options.dial = [&servers, faults, capacity](const Context& ctx,
                                              const DialTarget&) -> Result<std::unique_ptr<net::Transport>> {
    if (one_in(5) && !heddle::sleep(ctx, some(200ms))) return std::unexpected(Error{ctx.err()->code, 0, "dial"});
    if (one_in(15)) return std::unexpected(Error{Code::kRefused, 0, "dial"});
    auto [near, far] = conn_pair({.capacity = capacity});
    servers.go([conn = std::shared_ptr<TestConn>(std::move(far))] { Rogue(*conn).serve(); });
    return with_faults(faults)(std::move(near));
  };
  return options;
}

void chaos() {
  WaitGroup servers, cancels;
  {
    const ClientOptions options = some_options(servers);
    Client client(options);
    WaitGroup askers;
    for (std::size_t n = 2 + below(5); n > 0; --n) {
      askers.go([&, n] {
        for (std::size_t k = 1 + below(4); k > 0; --k) {
          Asker(client, cancels, "<" + std::to_string(n) + "." + std::to_string(k) + ">").ask();
          EXPECT_LE(client.stats().open, options.max_connections);
          if (one_in(5)) client.close_idle();
          if (one_in(4)) heddle::sleep(some(100ms));
        }
      });
    }
    askers.wait();
    EXPECT_EQ(client.stats().waiting, 0u);
    client.close_idle();
    EXPECT_EQ(client.stats().open, 0u);
  }
  servers.wait();
  cancels.wait();
  heddle::sleep(1s);  // the last read of a source that nobody waits for
}

TEST(ClientChaos, nothing_is_mixed_up_late_or_left) {
  heddle::test::explore(net::test::kSanitized ? 60 : 300, chaos, {.failed = &any_failure});
}

}  // namespace
}  // namespace heddle::http::test
