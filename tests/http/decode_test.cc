// Decoding: every coding at every split, streams in a row, what is damaged, and the client that asks for it.
#include <heddle/http/decode.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <heddle/http/compress.h>
#include <heddle/http/internal/encoder.h>

#include "client_test_util.h"

namespace heddle::http::test {
namespace {

const std::vector<std::pair<std::string, Coding>> kCodings = {
    {"gzip", Coding::kGzip}, {"br", Coding::kBrotli}, {"zstd", Coding::kZstd}};

std::string encode(Coding coding, std::string_view text) {
  const std::unique_ptr<Encoder> encoder = make_encoder(coding, 3);
  if (!encoder->restart()) std::abort();
  std::string out;
  for (;;) {
    char some[4096];
    const Encoder::Step step = encoder->step(text, some, Encoder::Until::kEnded);
    out.append(some, step.produced);
    if (step.done) return out;
  }
}

std::string text_of(std::size_t size) {
  std::string text;
  for (std::uint64_t i = 0; text.size() < size; ++i) text += "line " + std::to_string(i * i) + "\n";
  text.resize(size);
  return text;
}

// Gives `bytes` in pieces, then an end, or an error.
class Source final : public net::Reader {
 public:
  Source(std::string_view bytes, std::size_t piece, Code end = Code::kOk) : bytes_(bytes), piece_(piece), end_(end) {}
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override {
    if (bytes_.empty() && end_ != Code::kOk) return std::unexpected(Error{end_, 0, "source"});
    const std::size_t n = std::min({buf.size(), piece_, bytes_.size()});
    std::memcpy(buf.data(), bytes_.data(), n);
    bytes_.remove_prefix(n);
    return n;
  }

 private:
  std::string_view bytes_;
  std::size_t piece_;
  Code end_;
};

struct Decoded {
  std::string text;
  Code end = Code::kOk;  // kOk: its end
};

Decoded decode(std::string_view coding, Source source, std::size_t at_once) {
  const auto reader = decode_coding(coding, source);
  Decoded decoded;
  std::vector<std::byte> buf(at_once);
  for (;;) {
    const Result<std::size_t> n = reader->read(buf);
    if (!n) {
      EXPECT_EQ(reader->read(buf).error().code, n.error().code) << "an error stays";
      decoded.end = n.error().code;
      return decoded;
    }
    if (*n == 0) return decoded;
    decoded.text.append(reinterpret_cast<const char*>(buf.data()), *n);
  }
}

TEST(Decode, gives_back_what_was_encoded_however_it_comes) {
  for (const auto& [name, coding] : kCodings) {
    for (const std::size_t size : {0, 1, 1000, 300'000}) {
      const std::string text = text_of(size);
      const std::string encoded = encode(coding, text);
      for (const std::size_t piece : {std::size_t{1}, std::size_t{100}, encoded.size()}) {
        for (const std::size_t at_once : {1, 777, 1 << 20}) {
          if (size > 1000 && piece == 1 && at_once == 1) continue;
          const Decoded decoded = decode(name, Source(encoded, piece), at_once);
          EXPECT_EQ(decoded.end, Code::kOk) << name;
          EXPECT_TRUE(decoded.text == text) << name << ' ' << size << ' ' << piece << ' ' << at_once;
        }
      }
    }
  }
}

TEST(Decode, names_are_known_in_any_case_and_others_are_not) {
  Source source("", 1);
  EXPECT_TRUE(decode_coding("GZip", source));
  EXPECT_TRUE(decode_coding("x-gzip", source));
  for (const char* name : {"deflate", "identity", "gzip, br", "", "compress"}) {
    EXPECT_FALSE(decode_coding(name, source)) << name;
  }
}

TEST(Decode, no_bytes_are_an_empty_body) {
  for (const auto& [name, coding] : kCodings) {
    EXPECT_EQ(decode(name, Source("", 1), 10).end, Code::kOk);
    EXPECT_EQ(decode(name, Source("", 1, Code::kReset), 10).end, Code::kReset);
  }
}

TEST(Decode, streams_in_a_row_are_one_body_where_the_coding_has_that) {
  for (const auto& [name, coding] : kCodings) {
    const std::string two = encode(coding, "one, ") + encode(coding, "two");
    for (const std::size_t piece : {std::size_t{1}, two.size()}) {
      const Decoded decoded = decode(name, Source(two, piece), 100);
      if (coding == Coding::kBrotli) {
        EXPECT_EQ(decoded.end, Code::kProtocol);
        EXPECT_EQ(decoded.text, "one, ");
      } else {
        EXPECT_EQ(decoded.end, Code::kOk) << name;
        EXPECT_EQ(decoded.text, "one, two");
      }
    }
  }
}

TEST(Decode, a_cut_at_any_byte_is_seen) {
  for (const auto& [name, coding] : kCodings) {
    const std::string text = text_of(3000);
    const std::string encoded = encode(coding, text);
    for (std::size_t cut = 1; cut < encoded.size(); ++cut) {
      const Decoded decoded = decode(name, Source(std::string_view(encoded).substr(0, cut), 64), 500);
      EXPECT_EQ(decoded.end, Code::kEof) << name << " cut to " << cut;
      EXPECT_TRUE(text.starts_with(decoded.text));
      EXPECT_EQ(decode(name, Source(std::string_view(encoded).substr(0, cut), 64, Code::kTimeout), 500).end,
                Code::kTimeout);
    }
  }
}

TEST(Decode, bytes_behind_the_end_are_refused) {
  for (const auto& [name, coding] : kCodings) {
    const std::string encoded = encode(coding, "text") + "behind";
    for (const std::size_t piece : {std::size_t{1}, encoded.size()}) {
      EXPECT_EQ(decode(name, Source(encoded, piece), 100).end, Code::kProtocol) << name;
    }
  }
}

// Whatever the bytes are: an end, and nothing but the codes that are promised.
TEST(Decode, damage_never_does_harm) {
  for (const auto& [name, coding] : kCodings) {
    const std::string encoded = encode(coding, text_of(2000));
    for (std::size_t at = 0; at < encoded.size(); ++at) {
      std::string damaged = encoded;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
      const Code end = decode(name, Source(damaged, 1000), 10'000).end;
      EXPECT_TRUE(end == Code::kOk || end == Code::kProtocol || end == Code::kEof) << name << ' ' << at;
    }
  }
}

TEST(Decode, what_grows_without_end_can_be_left) {
  const std::string encoded = encode(Coding::kGzip, std::string(50'000'000, 'x'));
  EXPECT_LT(encoded.size(), 500'000U);
  Source source(encoded, 4096);
  const auto reader = decode_coding("gzip", source);
  std::byte buf[1000];
  for (int i = 0; i < 10; ++i) EXPECT_EQ(reader->read(buf), sizeof buf);
}

TEST(Decode, the_client_asks_for_what_it_can_undo) {
  with_network([] {
    const std::string text = text_of(200'000);
    OwnServer server(compress()([&text](Request& r, ResponseWriter& w) {
      w.set_header("Content-Type", "text/plain");
      if (r.path() == "/small") {
        w.write("small");
      } else {
        w.write(text);
      }
    }));
    for (const auto& [name, coding] : kCodings) {
      ClientOptions options;
      options.proxy = nullptr;
      options.accept_encoding = name;
      Client client(options);
      for (int i = 0; i < 2; ++i) {  // on the same connection
        Result<ClientResponse> response = client.get(server.url("/"));
        ASSERT_TRUE(response) << response.error().message();
        EXPECT_TRUE(response->decoded()) << name;
        EXPECT_FALSE(response->headers().find("Content-Encoding"));
        const Result<std::string> body = response->read_all(1 << 20);
        ASSERT_TRUE(body) << body.error().message();
        EXPECT_TRUE(*body == text) << name;
      }
      Result<ClientResponse> small = client.get(server.url("/small"));
      ASSERT_TRUE(small);
      EXPECT_FALSE(small->decoded());
      EXPECT_EQ(small->read_all(100), "small");
    }
    ClientOptions options;
    options.proxy = nullptr;
    Client client(options);
    Result<ClientResponse> any = client.get(server.url("/"));
    ASSERT_TRUE(any);
    EXPECT_TRUE(any->decoded());
    EXPECT_EQ(any->read_all(1 << 10).error().code, Code::kLimit) << "of what comes out";
  });
}

}  // namespace
}  // namespace heddle::http::test
