// Responses as tables: each is read whole, byte by byte, and split in two at every place, and must mean the same.
#include <gtest/gtest.h>
#include <heddle/http/internal/response_parser.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace heddle::http::test {
namespace {

const ResponseLimits kLimits{.max_head = 400, .max_headers = 8, .max_framing = 200};

/// What `bytes` mean if they come in `pieces` and then the connection ends: "status [body] {trailers} +rest", or why not.
std::string read_in(const std::vector<std::string_view>& pieces, Method method, std::size_t room) {
  std::string have;
  std::size_t seen = 0;
  std::size_t next = 0;
  ResponseHead head;
  std::size_t size = 0;
  for (;;) {
    const Result<std::size_t> parsed = parse_response_head(have, seen, method, kLimits, head);
    if (!parsed) return std::string("head: ") + to_string(parsed.error().code);
    if ((size = *parsed) != 0) break;
    if (next == pieces.size()) return "head: cut";
    have += pieces[next++];
  }
  std::string out = std::to_string(head.status) + (head.keep_alive ? "" : " close");
  have.erase(0, size);
  if (head.framing == ResponseFraming::kTunnel) {
    while (next < pieces.size()) have += pieces[next++];
    return out + " tunnel +" + have;
  }
  BodyReader body(head, kLimits);
  std::string text;
  std::vector<std::byte> buffer(room);
  while (!body.done()) {
    if (have.empty()) {
      if (next == pieces.size()) {
        if (const Result<void> end = body.end(); !end) return out + " body: " + to_string(end.error().code);
        break;
      }
      have = pieces[next++];
    }
    const Result<BodyReader::Step> step = body.take(std::as_bytes(std::span(have)), buffer);
    if (!step) return out + " body: " + to_string(step.error().code);
    EXPECT_TRUE(step->consumed != 0 || body.done()) << "nothing was taken";
    text.append(reinterpret_cast<const char*>(buffer.data()), step->produced);
    have.erase(0, step->consumed);
  }
  while (next < pieces.size()) have += pieces[next++];
  out += " [" + text + "]";
  for (const HeaderField f : body.trailers()) out += " {" + std::string(f.name) + "=" + std::string(f.value) + "}";
  return have.empty() ? out : out + " +" + have;
}

/// The same at every split, or what differed.
std::string read(std::string_view bytes, Method method = Method::kGet) {
  const std::string whole = read_in({bytes}, method, 1000);
  for (std::size_t i = 1; i < bytes.size(); ++i) {
    const std::string split = read_in({bytes.substr(0, i), bytes.substr(i)}, method, 3);
    if (split != whole) return "split at " + std::to_string(i) + ": " + split + " but whole: " + whole;
  }
  std::vector<std::string_view> single;
  for (std::size_t i = 0; i < bytes.size(); ++i) single.push_back(bytes.substr(i, 1));
  if (const std::string split = read_in(single, method, 1); split != whole)
    return "byte by byte: " + split + " but whole: " + whole;
  return whole;
}

std::string ok(std::string_view rest) { return "HTTP/1.1 200 OK\r\n" + std::string(rest); }
std::string chunked(std::string_view body) { return ok("Transfer-Encoding: chunked\r\n\r\n" + std::string(body)); }

TEST(ResponseParser, bodies_end_where_the_head_says) {
  EXPECT_EQ(read(ok("Content-Length: 5\r\n\r\nhelloX")), "200 [hello] +X");
  EXPECT_EQ(read(ok("Content-Length: 0\r\n\r\n")), "200 []");
  EXPECT_EQ(read(ok("Content-Length: 5\r\n\r\nhell")), "200 body: end of stream");
  EXPECT_EQ(read(ok("\r\nto the end")), "200 close [to the end]");
  EXPECT_EQ(read(ok("\r\n")), "200 close []");
  EXPECT_EQ(read("HTTP/1.1 204 No Content\r\n\r\nX"), "204 [] +X");
  EXPECT_EQ(read("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), "204 []");
  EXPECT_EQ(read("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), "304 []");
  EXPECT_EQ(read("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"), "304 []");
  EXPECT_EQ(read("HTTP/1.1 100 Continue\r\n\r\nHTTP"), "100 [] +HTTP");
  EXPECT_EQ(read(ok("Content-Length: 5\r\n\r\n"), Method::kHead), "200 []");
  EXPECT_EQ(read(ok("Transfer-Encoding: chunked\r\n\r\n"), Method::kHead), "200 []");
  EXPECT_EQ(read(ok("\r\n"), Method::kHead), "200 []");
  EXPECT_EQ(read(ok("\r\nbytes"), Method::kConnect), "200 close tunnel +bytes");
  EXPECT_EQ(read("HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\nx", Method::kConnect), "407 [x]");
  // RFC 9110 s9.3.6: a tunnel has no length, whatever the proxy says.
  EXPECT_EQ(read(ok("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nbytes"), Method::kConnect),
            "200 close tunnel +bytes");
  EXPECT_EQ(read("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw"), "101 close tunnel +raw");
}

TEST(ResponseParser, chunks_make_a_body_and_trailers_stay_apart) {
  EXPECT_EQ(read(chunked("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nX")), "200 [hello world] +X");
  EXPECT_EQ(read(chunked("0\r\n\r\n")), "200 []");
  EXPECT_EQ(read(chunked("000A\r\n0123456789\r\n00\r\n\r\n")), "200 [0123456789]");
  EXPECT_EQ(read(chunked("1;a=b;c=\"d e\"\r\nx\r\n0 ;e\r\n\r\n")), "200 [x]");
  // Sizes of one width, as some servers write them: however many chunks there are.
  std::string body;
  for (int i = 0; i < 40; ++i) body += "0000000000000001\r\nx\r\n";
  EXPECT_EQ(read(chunked(body + "0000000000000000\r\n\r\n")), "200 [" + std::string(40, 'x') + "]");
  EXPECT_EQ(read(chunked("1\r\nx\r\n0\r\nA: b\r\nC:\t d e \r\nE:\r\n\r\nX")), "200 [x] {A=b} {C=d e} {E=} +X");
  EXPECT_EQ(read(chunked("1\r\nx\r\n0\r\nContent-Length: 7\r\n\r\nX")), "200 [x] +X");  // which may not be one
}

TEST(ResponseParser, broken_chunks_are_refused) {
  for (const std::string_view body : {"\r\n",
                                      "g\r\n",
                                      "-1\r\n",
                                      "+1\r\n",
                                      "0x1\r\n",
                                      " 1\r\nx\r\n",
                                      "1 \r\nx\r\n",
                                      "1\nx\r\n",
                                      "1\r\nx\n",
                                      "1\r\nxy\r\n",
                                      "1\r\nx\r\r\n",
                                      "1\rx",
                                      "1;\n\r\nx",
                                      "1;a\x01\r\nx",
                                      "1a;\x7f\r\n",
                                      ";\r\n",
                                      "10000000000000000\r\n",
                                      "fffffffffffffffff\r\n",
                                      "0\r\n\n",
                                      "0\r\nA\r\n\r\n",
                                      "0\r\nA : b\r\n\r\n",
                                      "0\r\n a: b\r\n\r\n",
                                      "0\r\nA: b\n\r\n",
                                      "0\r\nA: b\r\r\n\r\n",
                                      "0\r\n: b\r\n\r\n",
                                      "0\r\nA: b\r\n folded\r\n\r\n",
                                      "0\r\n\rX"}) {
    EXPECT_EQ(read(chunked(body)), "200 body: protocol error") << body;
  }
  for (const std::string_view body :
       {"", "1", "1\r\n", "1\r\nx", "1\r\nx\r\n", "1\r\nx\r\n0\r\n", "0\r\nA: b\r\n", "1;"}) {
    EXPECT_EQ(read(chunked(body)), "200 body: end of stream") << body;
  }
}

TEST(ResponseParser, a_length_that_reads_two_ways_is_refused) {
  for (const std::string_view fields : {"Content-Length: 5\r\nTransfer-Encoding: chunked",
                                        "Transfer-Encoding: chunked\r\ncontent-length: 5",
                                        "Content-Length: 5\r\nContent-Length: 6",
                                        "Content-Length: 5\r\nContent-Length: 5",
                                        "Content-Length: 5, 5",
                                        "Content-Length: +5",
                                        "Content-Length: -5",
                                        "Content-Length: 0x5",
                                        "Content-Length: 5 5",
                                        "Content-Length:",
                                        "Content-Length: 18446744073709551616",
                                        "Content-Length: 99999999999999999999999",
                                        "Content-Length: 5.0",
                                        "Transfer-Encoding: gzip",
                                        "Transfer-Encoding: gzip, chunked",
                                        "Transfer-Encoding: chunked, gzip",
                                        "Transfer-Encoding: chunked, chunked",
                                        "Transfer-Encoding:",
                                        "Transfer-Encoding: xchunked",
                                        "Transfer-Encoding: \"chunked\"",
                                        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                                        "Transfer-Encoding: identity",
                                        "Transfer-Encoding: chunked;q=1",
                                        "Transfer-Encoding: ,chunked",
                                        "Transfer-Encoding: \x0b"
                                        "chunked"}) {
    EXPECT_EQ(read(ok(std::string(fields) + "\r\n\r\n")), "head: protocol error") << fields;
    EXPECT_EQ(read(ok(std::string(fields) + "\r\n\r\n"), Method::kHead), "head: protocol error") << fields;
  }
  EXPECT_EQ(read(ok("transfer-ENCODING:\tCHUNKED \r\n\r\n0\r\n\r\n")), "200 []");
  EXPECT_EQ(read("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "head: protocol error");
  EXPECT_EQ(read("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"), "head: protocol error");
  EXPECT_EQ(read("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n"), "head: protocol error");
  EXPECT_EQ(read("HTTP/1.1 103 Hints\r\nContent-Length: 5\r\n\r\n"), "head: protocol error");
}

TEST(ResponseParser, lines_are_held_to_the_grammar) {
  for (const std::string_view head : {"\r\nHTTP/1.1 200 OK\r\n\r\n",
                                      " HTTP/1.1 200 OK\r\n\r\n",
                                      "http/1.1 200 OK\r\n\r\n",
                                      "HTTP/2.0 200 OK\r\n\r\n",
                                      "HTTP/1 200 OK\r\n\r\n",
                                      "HTTP/1.x 200 OK\r\n\r\n",
                                      "HTTP/1.1  200 OK\r\n\r\n",
                                      "HTTP/1.1 20 OK\r\n\r\n",
                                      "HTTP/1.1 2000 OK\r\n\r\n",
                                      "HTTP/1.1 099 OK\r\n\r\n",
                                      "HTTP/1.1 200OK\r\n\r\n",
                                      "HTTP/1.1\t200 OK\r\n\r\n",
                                      "HTTP/1.1 200 O\rK\r\n\r\n",
                                      "HTTP/1.1 200 O\x01K\r\n\r\n",
                                      "HTTP/1.1 200 OK\n\n",
                                      "HTTP/1.1 200 OK\r\nA: b\n\r\n",
                                      "HTTP/1.1 200 OK\n\r\n\r\n",
                                      "SSH-2.0-x",
                                      "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nA\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nA\x80: b\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\n\rA: b\r\n\r\n"}) {
    EXPECT_EQ(read(head), "head: protocol error") << head;
  }
  EXPECT_EQ(read(std::string_view("HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n", 28)), "head: protocol error");
  EXPECT_EQ(read("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), "200 []");
  EXPECT_EQ(read("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"), "200 []");
  EXPECT_EQ(read("HTTP/1.1 799 \xc3\xa4\r\nContent-Length: 0\r\n\r\n"), "799 []");
  EXPECT_EQ(read("HTTP/1.1 200 OK"), "head: cut");
}

TEST(ResponseParser, persistence_is_the_servers_to_end) {
  EXPECT_EQ(read(ok("Content-Length: 0\r\nConnection: a, Close\r\n\r\n")), "200 close []");
  EXPECT_EQ(read(ok("Content-Length: 0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n")), "200 close []");
  EXPECT_EQ(read("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"), "200 close []");
  EXPECT_EQ(read("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n"), "200 []");
  EXPECT_EQ(read("HTTP/1.7 200 OK\r\nContent-Length: 0\r\n\r\n"), "200 []");
}

TEST(ResponseParser, what_a_peer_decides_the_size_of_is_limited) {
  EXPECT_EQ(read(ok("A: " + std::string(500, 'a') + "\r\n\r\n")), "head: limit reached");
  std::string fields;
  for (int i = 0; i < 9; ++i) fields += "A: b\r\n";
  EXPECT_EQ(read(ok(fields + "\r\n")), "head: limit reached");
  // A line that ends wrongly behind them is the same fault in one piece as in several.
  EXPECT_EQ(read(ok(fields + "A: b\n\r\n\r\n")), "head: protocol error");
  EXPECT_EQ(read(chunked("1;" + std::string(300, 'e') + "\r\nx\r\n")), "200 body: limit reached");
  EXPECT_EQ(read(chunked("0\r\nA: " + std::string(300, 't') + "\r\n\r\n")), "200 body: limit reached");
  EXPECT_EQ(read(chunked("0\r\n" + fields + "\r\n")), "200 body: limit reached");
  EXPECT_EQ(read(chunked(std::string(400, '0') + "\r\n\r\n")), "200 body: protocol error");
}

// Damaged at random: whatever it means, it means the same however it comes, and nothing is read beyond its end.
TEST(ResponseParser, damage_means_the_same_at_every_split) {
  const std::string sources[] = {
      ok("Content-Length: 5\r\nA: b\r\n\r\nhelloX"),
      chunked("5;e=1\r\nhello\r\n3 ;x\r\nabc\r\n0\r\nSum: 7\r\n\r\nHTTP/1.1"),
      "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nto the end",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
  };
  const std::string_view spice = "\r\n\r\n :;,019afgx\t\xff";
  std::mt19937 random(7);
  for (int round = 0; round < 4000; ++round) {
    std::string text = sources[random() % std::size(sources)];
    for (unsigned damage = random() % 4; damage > 0; --damage) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0: text.erase(at, 1); break;
        case 1: text.insert(at, 1, spice[random() % spice.size()]); break;
        case 2: text[at] = spice[random() % spice.size()]; break;
        default: text[at] = static_cast<char>(random()); break;
      }
    }
    const Method method = random() % 8 == 0 ? Method::kHead : Method::kGet;
    const std::string whole = read_in({text}, method, 1000);
    std::vector<std::string_view> pieces;
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t n = std::min<std::size_t>(rest.size(), 1 + random() % 12);
      pieces.push_back(rest.substr(0, n));
      rest.remove_prefix(n);
    }
    const std::string split = read_in(pieces, method, 1 + random() % 9);
    ASSERT_EQ(split, whole) << text;
  }
}

TEST(ResponseParser, fields_keep_their_order_and_lose_their_blanks) {
  const std::string text = ok("A: 1\r\nb:\t 2 \t\r\nA:3\r\nEmpty:\r\nHigh: \xff\r\nContent-Length: 0\r\n\r\n");
  ResponseHead head;
  std::size_t seen = 0;
  ASSERT_EQ(parse_response_head(text, seen, Method::kGet, kLimits, head), text.size());
  std::string out;
  for (const HeaderField f : HeaderList(text.data(), head.refs.data(), head.refs.size())) {
    out += std::string(f.name) + "=" + std::string(f.value) + ";";
  }
  EXPECT_EQ(out, "A=1;b=2;A=3;Empty=;High=\xff;Content-Length=0;");
  EXPECT_EQ(text.substr(head.reason_at, head.reason_size), "OK");
}

}  // namespace
}  // namespace heddle::http::test
