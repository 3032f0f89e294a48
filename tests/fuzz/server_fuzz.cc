// A whole connection of the server, over memory: what it answers is well-formed responses, one for each request that a handler
// saw and at most one refusal behind them; it does not depend on the splits; and the connection ends with its client.
//
// Input: a byte for the limits, 4 for the splits, the bytes that a client sends before it ends.
#include <gtest/gtest.h>
#include <heddle/http/server.h>
#include <heddle/http/status.h>

#include <array>
#include <chrono>
#include <stdexcept>

#include "../http/memory_stream.h"
#include "../http/responses.h"
#include "scheduler.h"

namespace heddle::http {
namespace {

struct Outcome {
  std::vector<std::string> responses;
  std::vector<std::string> requests;  // that handlers saw
  std::string heads;                  // for read_responses()
  std::size_t sound = SIZE_MAX;       // requests before the first whose body failed: how much of it came may vary
  bool ended = false;
};

/// Does with the request what its path begins with, and keeps account.
void serve(Request& request, ResponseWriter& w, Outcome& out) {
  out.heads += request.method() == Method::kHead ? 'h' : '-';
  std::string& seen = out.requests.emplace_back(to_string(request.method()));
  seen.append(" ").append(request.target()).append(" ").append(request.host());
  for (const HeaderField f : request.headers())
    seen.append(" {").append(f.name).append("=").append(f.value).append("}");
  const std::size_t index = out.requests.size() - 1;
  // Until `to` is full: how much of a body is unread when the response begins, which decides whether the connection can be
  // kept (max_drain), must not depend on the splits.
  const auto read = [&](std::span<std::byte> to) -> std::size_t {
    std::size_t have = 0;
    while (have < to.size()) {
      const Result<std::size_t> n = request.read(to.subspan(have));
      if (!n) out.sound = std::min(out.sound, index);
      if (n.value_or(0) == 0) break;
      have += *n;
    }
    return have;
  };
  std::array<std::byte, 5> buffer;
  switch (request.path().size() < 2 ? ' ' : request.path()[1]) {
    case 'e': {
      const Result<std::string> body = request.read_all(150);
      if (!body) {
        out.sound = std::min(out.sound, index);
        return;
      }
      seen += " [" + *body + "]";
      w.write(*body);
      return;
    }
    case 's':
      while (const std::size_t n = read(buffer)) {
        seen.append(reinterpret_cast<const char*>(buffer.data()), n);
        if (!w.write(std::span(buffer).first(n)) || !w.flush()) return;
      }
      return;
    case 'p': static_cast<void>(read(buffer)); break;
    case 't': throw std::runtime_error("thrown");
    case 'c': w.close_connection(); break;
    case 'n': w.status(kStatusNoContent); return;
    default: break;
  }
  w.write("answer");
}

// Between two pieces goroutines have `turns` turns: few, and a request's bytes come while the one before it runs.
Outcome connect(const std::vector<std::string_view>& pieces, std::size_t turns, const ServerOptions& options) {
  Outcome out;
  Server server([&out](Request& request, ResponseWriter& w) { serve(request, w, out); }, options);
  test::MemoryStream stream;
  net::StreamSink* const sink = server.acceptor().on_accept(stream);
  FUZZ_CHECK(sink != nullptr);
  stream.attach(sink);
  for (const std::string_view piece : pieces) {
    stream.send(piece);
    for (std::size_t i = 0; i < turns; ++i) gosched();
  }
  stream.settle();
  stream.end();
  stream.settle();
  out.ended = stream.shut() || stream.closed();
  if (!stream.gone()) {
    stream.end(Code::kReset);
    stream.settle();
  }
  FUZZ_CHECK(stream.gone());
  FUZZ_CHECK(server.stats().open == 0);
  FUZZ_CHECK(out.ended);
  out.responses = test::read_responses(stream.written(), out.heads, true);
  return out;
}

void check(const Outcome& out) {
  std::size_t finals = 0;
  for (const std::string& r : out.responses) {
    for (const char* fault : {"garbage", "bad-", "two-lengths", "dates="}) {
      if (r.substr(0, r.find('[')).find(fault) != std::string::npos) fuzz::broken(__FILE__, __LINE__, fault, r);
    }
    if (!r.starts_with("1")) ++finals;
    // Only the last one may be cut, where a body failed; or look so, if it refuses a HEAD.
    const bool cut = r.substr(0, r.find('[')).ends_with("cut ");
    const bool refusal = finals > out.requests.size();
    FUZZ_CHECK(!cut || (&r == &out.responses.back() && (out.sound != SIZE_MAX || refusal)));
  }
  FUZZ_CHECK(finals == out.requests.size() || finals == out.requests.size() + 1);
}

// The same, as far as the bodies came whole. Whether 100 (Continue) is said depends on when they came.
void check_same(const Outcome& a, const Outcome& b) {
  FUZZ_CHECK(a.sound == b.sound);
  FUZZ_CHECK(a.requests.size() == b.requests.size());
  for (std::size_t i = 0; i < std::min(a.sound, a.requests.size()); ++i) FUZZ_SAME(a.requests[i], b.requests[i]);
  std::vector<std::string> finals_a = a.responses;
  std::vector<std::string> finals_b = b.responses;
  for (auto* finals : {&finals_a, &finals_b}) {
    std::erase_if(*finals, [](const std::string& r) { return r.starts_with("1"); });
    finals->resize(std::min(finals->size(), a.sound));
  }
  FUZZ_CHECK(finals_a.size() == finals_b.size());
  for (std::size_t i = 0; i < finals_a.size(); ++i) FUZZ_SAME(finals_a[i], finals_b[i]);
}

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  heddle::fuzz::Input input(data, size);
  ServerOptions options;
  options.header_timeout = options.idle_timeout = options.body_timeout = options.write_timeout = {};
  options.linger_timeout = {};
  options.min_body_rate = 0;
  if (input.below(2) != 0) {
    options.max_target = 30;
    options.max_head_bytes = 200;
    options.max_headers = 5;
    options.max_body = 100;
    options.max_framing = 60;
    options.max_drain = 50;
  }
  const std::uint64_t seed = input.word();
  const std::string bytes = input.rest();
  heddle::fuzz::Scheduler::run_input([&] {
    const Outcome whole = connect({bytes}, 0, options);
    check(whole);
    const Outcome split = connect(heddle::fuzz::cut(bytes, seed), seed / 4 % 4, options);
    check(split);
    check_same(whole, split);
  });
  FUZZ_CHECK(!testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed());  // of memory_stream.h
  return 0;
}
