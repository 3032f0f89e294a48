// Compression: what is compressed and what is not, the fields that go with it, streams, promises, failures.
#include <heddle/http/compress.h>

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>

#include <heddle/http/catch_failures.h>
#include <heddle/http/static_files.h>

#include "ask.h"

namespace heddle::http::test {
namespace {

// ---- decoders ----

// What the bytes of a stream so far decode to; `ended`: the stream is at its end, with nothing behind it.
std::string gunzip(std::string_view in, bool* ended = nullptr) {
  z_stream z{};
  if (::inflateInit2(&z, 15 + 16) != Z_OK) std::abort();
  std::string text(4 << 20, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  z.avail_in = static_cast<uInt>(in.size());
  z.next_out = reinterpret_cast<Bytef*>(text.data());
  z.avail_out = static_cast<uInt>(text.size());
  const int status = ::inflate(&z, Z_SYNC_FLUSH);
  if (ended != nullptr) *ended = status == Z_STREAM_END && z.avail_in == 0;
  text.resize(text.size() - z.avail_out);
  ::inflateEnd(&z);
  return text;
}

std::string unbrotli(std::string_view in, bool* ended = nullptr) {
  const std::unique_ptr<BrotliDecoderState, void (*)(BrotliDecoderState*)> state(
      ::BrotliDecoderCreateInstance(nullptr, nullptr, nullptr), &::BrotliDecoderDestroyInstance);
  std::string text(4 << 20, '\0');
  std::size_t in_left = in.size();
  const auto* next_in = reinterpret_cast<const std::uint8_t*>(in.data());
  std::size_t out_left = text.size();
  auto* next_out = reinterpret_cast<std::uint8_t*>(text.data());
  const auto status = ::BrotliDecoderDecompressStream(state.get(), &in_left, &next_in, &out_left, &next_out, nullptr);
  if (ended != nullptr) *ended = status == BROTLI_DECODER_RESULT_SUCCESS && in_left == 0;
  text.resize(text.size() - out_left);
  return text;
}

std::string unzstd(std::string_view in, bool* ended = nullptr) {
  const std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context(::ZSTD_createDCtx(), &::ZSTD_freeDCtx);
  std::string text(4 << 20, '\0');
  ZSTD_inBuffer from{in.data(), in.size(), 0};
  ZSTD_outBuffer to{text.data(), text.size(), 0};
  std::size_t left = 1;
  while (from.pos < from.size) {
    left = ::ZSTD_decompressStream(context.get(), &to, &from);
    if (::ZSTD_isError(left) != 0) return "error";
  }
  if (ended != nullptr) *ended = left == 0;
  text.resize(to.pos);
  return text;
}

std::string decode(const Answer& answer) {
  const std::string coding = answer.field("Content-Encoding");
  bool ended = true;
  const std::string text = coding == "gzip"   ? gunzip(answer.body, &ended)
                           : coding == "br"   ? unbrotli(answer.body, &ended)
                           : coding == "zstd" ? unzstd(answer.body, &ended)
                                              : answer.body;
  EXPECT_TRUE(ended) << coding;
  return text;
}

// ---- handlers ----

std::string text_of(std::size_t size) {
  std::string text;
  for (std::uint64_t i = 0; text.size() < size; ++i) text += "line " + std::to_string(i * i) + "\n";
  text.resize(size);
  return text;
}

// Noise: no coding makes it smaller.
std::string noise(std::size_t size) {
  std::string text(size, '\0');
  std::uint64_t state = 88172645463325252U;
  for (char& c : text) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    c = static_cast<char>(state);
  }
  return text;
}

Handler around(Handler handler, CompressOptions options = {}) {
  return compress(std::move(options))(std::move(handler));
}

// Writes a text of that size, plain, after `prepare`.
template <class Prepare>
Handler writes(std::size_t size, Prepare prepare) {
  return around([size, prepare](Request&, ResponseWriter& w) {
    w.set_header("Content-Type", "text/plain");
    prepare(w);
    w.write(text_of(size));
  });
}
Handler writes(std::size_t size) {
  return writes(size, [](ResponseWriter&) {});
}

constexpr const char* kGzip = "Accept-Encoding: gzip\r\n";

// ---- what is compressed ----

TEST(Compress, each_coding_gives_the_text_back) {
  for (const char* coding : {"gzip", "br", "zstd"}) {
    for (const std::size_t size : {1024, 20'000, 1'000'000}) {
      SCOPED_TRACE(std::string(coding) + " " + std::to_string(size));
      const Answer answer = ask(writes(size), "GET /", "Accept-Encoding: " + std::string(coding) + "\r\n");
      EXPECT_EQ(answer.status, 200);
      EXPECT_EQ(answer.field("Content-Encoding"), coding);
      EXPECT_EQ(answer.field("Vary"), "Accept-Encoding");
      EXPECT_TRUE(answer.whole);
      EXPECT_LT(answer.body.size(), size);
      EXPECT_EQ(decode(answer), text_of(size));
    }
  }
}

TEST(Compress, every_level_has_room_on_a_handlers_stack) {
  const auto with = [](const char* coding, CompressOptions options) {
    const Handler handler = around(
        [](Request&, ResponseWriter& w) {
          w.set_header("Content-Type", "text/plain");
          w.write(text_of(100'000));
        },
        std::move(options));
    EXPECT_EQ(decode(ask(handler, "GET /", "Accept-Encoding: " + std::string(coding) + "\r\n")), text_of(100'000));
  };
  for (const int level : {1, 9}) with("gzip", {.gzip_level = level});
  for (const int level : {0, 1, 2, 5, 9, 10, 11}) with("br", {.brotli_quality = level});
  for (const int level : {1, 7, 13, 19}) with("zstd", {.zstd_level = level});
}

TEST(Compress, what_cannot_be_made_smaller_comes_back_too) {
  for (const char* coding : {"gzip", "br", "zstd"}) {
    const Handler handler = around([](Request&, ResponseWriter& w) {
      w.set_header("Content-Type", "text/plain");
      const std::string all = noise(300'000);
      for (std::size_t at = 0; at < all.size(); at += 777) w.write(std::string_view(all).substr(at, 777));
    });
    const Answer answer = ask(handler, "GET /", "Accept-Encoding: " + std::string(coding) + "\r\n");
    EXPECT_TRUE(answer.whole);
    EXPECT_EQ(decode(answer), noise(300'000)) << coding;
  }
}

TEST(Compress, a_body_that_fits_has_its_length) {
  const Answer answer = ask(writes(5000), "GET /", kGzip);
  EXPECT_EQ(answer.field("Content-Length"), std::to_string(answer.body.size()));
  EXPECT_EQ(decode(answer), text_of(5000));
}

TEST(Compress, the_client_chooses) {
  EXPECT_EQ(ask(writes(5000), "GET /", "Accept-Encoding: gzip, deflate, br, zstd\r\n").field("Content-Encoding"),
            "zstd");
  EXPECT_EQ(ask(writes(5000), "GET /", "Accept-Encoding: gzip, br;q=0.5\r\n").field("Content-Encoding"), "gzip");
  EXPECT_EQ(ask(writes(5000), "GET /", "Accept-Encoding: x-gzip\r\n").field("Content-Encoding"), "gzip");
  for (const char* fields :
       {"", "Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: identity\r\n", "Accept-Encoding: deflate\r\n",
        "Accept-Encoding: gzip\r\nCache-Control: no-transform\r\n"}) {
    const Answer answer = ask(writes(5000), "GET /", fields);
    EXPECT_FALSE(answer.has("Content-Encoding")) << fields;
    EXPECT_EQ(answer.field("Vary"), "Accept-Encoding") << fields;
    EXPECT_EQ(answer.body, text_of(5000)) << fields;
    EXPECT_EQ(answer.field("Content-Length"), "5000") << fields;
  }
}

TEST(Compress, small_bodies_go_as_they_are) {
  const Answer answer = ask(writes(1023), "GET /", kGzip);
  EXPECT_FALSE(answer.has("Content-Encoding"));
  EXPECT_FALSE(answer.has("Vary"));
  EXPECT_EQ(answer.field("Content-Length"), "1023");
  EXPECT_EQ(answer.body, text_of(1023));
  EXPECT_EQ(ask(writes(0), "GET /", kGzip).field("Content-Length"), "0");
  const Handler pieces = around([](Request&, ResponseWriter& w) {
    w.set_header("Content-Type", "text/plain");
    for (int i = 0; i < 1024; ++i) w.write("x");
  });
  EXPECT_EQ(decode(ask(pieces, "GET /", kGzip)), std::string(1024, 'x'));
  EXPECT_EQ(ask(pieces, "GET /", kGzip).field("Content-Encoding"), "gzip");
}

TEST(Compress, what_must_stay_as_it_is_does) {
  struct Case {
    const char* name;
    const char* value;
  };
  for (const Case c : {Case{"Content-Type", "image/png"}, Case{"Content-Encoding", "br"},
                       Case{"Cache-Control", "public, No-Transform"}, Case{"Content-Range", "bytes 0-4999/5000"},
                       Case{"Content-Digest", "sha-256=:x:"}}) {
    const Answer answer = ask(writes(5000, [c](ResponseWriter& w) { w.set_header(c.name, c.value); }), "GET /", kGzip);
    EXPECT_EQ(answer.body, text_of(5000)) << c.name;
    EXPECT_EQ(answer.field(c.name), c.value);
    EXPECT_FALSE(answer.has("Vary")) << c.name;
  }
  for (const int status : {204, 205, 304}) {
    const Answer answer = ask(writes(5000, [status](ResponseWriter& w) { w.status(status); }), "GET /", kGzip);
    EXPECT_EQ(answer.status, status);
    EXPECT_FALSE(answer.has("Content-Encoding")) << status;
    EXPECT_EQ(answer.body, "") << status;
  }
  EXPECT_EQ(ask(writes(5000, [](ResponseWriter& w) { w.status(206); }), "GET /", kGzip).body, text_of(5000));
  const Handler bare = around([](Request&, ResponseWriter& w) { w.write(text_of(5000)); });
  EXPECT_EQ(ask(bare, "GET /", kGzip).body, text_of(5000));  // no type
  EXPECT_EQ(decode(ask(writes(5000, [](ResponseWriter& w) { w.status(404); }), "GET /", kGzip)), text_of(5000));
}

TEST(Compress, nothing_is_compressed_twice) {
  const Handler handler = compress()(writes(5000));
  const Answer answer = ask(handler, "GET /", kGzip);
  EXPECT_EQ(answer.field("Content-Encoding"), "gzip");
  EXPECT_EQ(answer.field("Vary"), "Accept-Encoding");
  EXPECT_EQ(decode(answer), text_of(5000));
}

TEST(Compress, options_are_checked_and_kept) {
  EXPECT_THROW(static_cast<void>(compress({.codings = {"deflate"}})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(compress({.gzip_level = 0})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(compress({.brotli_quality = 12})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(compress({.zstd_level = 23})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(compress({.types = nullptr})), std::invalid_argument);
  CompressOptions options;
  options.codings = {"gzip"};
  options.min_size = 0;
  options.types = [](std::string_view type) { return type == "image/own"; };
  const Handler handler = around(
      [](Request&, ResponseWriter& w) {
        w.set_header("Content-Type", "image/own");
        w.write("x");
      },
      options);
  EXPECT_EQ(decode(ask(handler, "GET /", kGzip)), "x");
  EXPECT_EQ(ask(handler, "GET /", kGzip).field("Content-Encoding"), "gzip");
  EXPECT_FALSE(ask(handler, "GET /", "Accept-Encoding: br\r\n").has("Content-Encoding"));
  const Handler silent =
      around([](Request&, ResponseWriter& w) { w.set_header("Content-Type", "image/own"); }, options);
  EXPECT_EQ(ask(silent, "GET /", kGzip).field("Content-Length"), "0");
}

// ---- fields ----

TEST(Compress, the_tag_becomes_weak_and_ranges_go) {
  const auto prepare = [](ResponseWriter& w) {
    w.set_header("ETag", "\"v1\"");
    w.set_header("Accept-Ranges", "bytes");
    w.set_header("Vary", "Origin");
  };
  const Answer answer = ask(writes(5000, prepare), "GET /", kGzip);
  EXPECT_EQ(answer.field("ETag"), "W/\"v1\"");
  EXPECT_FALSE(answer.has("Accept-Ranges"));
  EXPECT_EQ(answer.field("Vary"), "Origin, Accept-Encoding");
  const Answer plain = ask(writes(5000, prepare), "GET /");
  EXPECT_EQ(plain.field("ETag"), "\"v1\"");
  EXPECT_EQ(plain.field("Accept-Ranges"), "bytes");
  EXPECT_EQ(plain.field("Vary"), "Origin, Accept-Encoding");
  const auto weak = [](ResponseWriter& w) {
    w.set_header("ETag", "W/\"v1\"");
    w.set_header("Vary", "x, accept-encoding");
  };
  EXPECT_EQ(ask(writes(5000, weak), "GET /", kGzip).field("ETag"), "W/\"v1\"");
  EXPECT_EQ(ask(writes(5000, weak), "GET /", kGzip).field("Vary"), "x, accept-encoding");
}

TEST(Compress, not_modified_repeats_the_tag_as_the_client_has_it) {
  const Handler handler = around([](Request&, ResponseWriter& w) {
    w.status(304);
    w.set_header("ETag", "\"v1\"");
  });
  EXPECT_EQ(ask(handler, "GET /", "If-None-Match: W/\"v1\"\r\n").field("ETag"), "W/\"v1\"");
  EXPECT_EQ(ask(handler, "GET /", "If-None-Match: \"v1\"\r\n").field("ETag"), "\"v1\"");
  EXPECT_EQ(ask(handler, "GET /", "If-None-Match: W/\"v1\", \"v1\"\r\n").field("ETag"), "\"v1\"");
  EXPECT_EQ(ask(handler, "GET /", "If-None-Match: *\r\n").field("ETag"), "\"v1\"");
  EXPECT_EQ(ask(handler, "GET /", "If-None-Match: *\r\n").field("Vary"), "Accept-Encoding");
}

TEST(Compress, head_has_the_fields_of_get) {
  const Answer written = ask(writes(5000), "HEAD /", kGzip);
  EXPECT_EQ(written.field("Content-Encoding"), "gzip");
  EXPECT_FALSE(written.has("Content-Length"));
  EXPECT_TRUE(written.whole);
  const Handler announces = around([](Request&, ResponseWriter& w) {
    w.set_header("Content-Type", "text/plain");
    w.set_header("Content-Length", "5000");
  });
  const Answer announced = ask(announces, "HEAD /", kGzip);
  EXPECT_EQ(announced.field("Content-Encoding"), "gzip");
  EXPECT_EQ(announced.field("Vary"), "Accept-Encoding");
  EXPECT_FALSE(announced.has("Content-Length"));
  EXPECT_TRUE(announced.whole);
  EXPECT_EQ(ask(announces, "HEAD /").field("Content-Length"), "5000");
  EXPECT_EQ(ask(writes(100), "HEAD /", kGzip).field("Content-Length"), "100");
}

TEST(Compress, an_old_client_gets_it_until_the_close) {
  const Answer answer = ask(writes(1'000'000), "GET /", kGzip, "1.0");
  EXPECT_EQ(answer.field("Content-Encoding"), "gzip");
  EXPECT_FALSE(answer.has("Transfer-Encoding"));
  EXPECT_EQ(decode(answer), text_of(1'000'000));
}

// ---- streams ----

TEST(Compress, a_flush_sends_what_can_be_decoded_at_once) {
  for (const std::string coding : {"gzip", "br", "zstd"}) {
    on_one_p([&] {
      const Chan<int> steps = make_chan<int>();
      Rig rig(around([&](Request&, ResponseWriter& w) {
        w.set_header("Content-Type", "text/event-stream");
        for (int i = 0; i < 3; ++i) {
          w.write("event " + std::to_string(i) + "\n");
          w.flush();
          static_cast<void>(steps.recv());
        }
      }));
      rig.stream.send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: " + coding + "\r\n\r\n");
      std::string expected;
      for (int i = 0; i < 3; ++i) {
        rig.stream.settle();
        expected += "event " + std::to_string(i) + "\n";
        const Answer answer = take_apart(rig.stream.written(), false);
        EXPECT_EQ(answer.field("Content-Encoding"), coding);
        EXPECT_EQ(coding == "gzip" ? gunzip(answer.body)
                  : coding == "br" ? unbrotli(answer.body)
                                   : unzstd(answer.body),
                  expected);
        steps.send(0);
      }
      rig.stream.settle();
      const Answer answer = take_apart(rig.stream.written(), false);
      EXPECT_TRUE(answer.whole);
      EXPECT_EQ(decode(answer), expected);
    });
  }
}

TEST(Compress, after_the_first_write_the_fields_are_fixed) {
  bool started = true;
  bool started_then = false;
  Code status = Code::kOk;
  Code field = Code::kOk;
  Code removal = Code::kOk;
  const Handler handler = around([&](Request&, ResponseWriter& w) {
    w.set_header("Content-Type", "text/plain");
    started = w.started();
    w.write("a");
    started_then = w.started();
    if (const auto r = w.status(500); !r) status = r.error().code;
    if (const auto r = w.set_header("X", "y"); !r) field = r.error().code;
    if (const auto r = w.remove_header("Content-Type"); !r) removal = r.error().code;
    w.write(text_of(5000));
  });
  const Answer answer = ask(handler, "GET /", kGzip);
  EXPECT_FALSE(started);
  EXPECT_TRUE(started_then);
  EXPECT_EQ(status, Code::kInvalid);
  EXPECT_EQ(field, Code::kInvalid);
  EXPECT_EQ(removal, Code::kInvalid);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(decode(answer), "a" + text_of(5000));
}

// ---- promises and failures ----

TEST(Compress, an_announced_length_remains_a_promise) {
  const auto handler = [](std::size_t size) {
    return around([size](Request&, ResponseWriter& w) {
      w.set_header("Content-Type", "text/plain");
      w.set_header("Content-Length", "5000");
      w.write(text_of(size / 2));
      const Result<void> rest = w.write(text_of(size).substr(size / 2));
      EXPECT_EQ(rest.has_value(), size <= 5000);
    });
  };
  const Answer kept = ask(handler(5000), "GET /", kGzip);
  EXPECT_TRUE(kept.whole);
  EXPECT_EQ(decode(kept), text_of(5000));
  EXPECT_EQ(ask(handler(4999), "GET /", kGzip).status, 0);  // none of it was sent
  EXPECT_EQ(ask(handler(5002), "GET /", kGzip).status, 0);
}

TEST(Compress, a_handler_that_throws_is_a_500_or_a_cut) {
  const auto handler = [](std::size_t size, bool flushed) {
    return around([=](Request&, ResponseWriter& w) {
      w.set_header("Content-Type", "text/plain");
      w.write(text_of(size));
      if (flushed) w.flush();
      throw std::runtime_error("handler");
    });
  };
  for (const std::size_t size : {10, 5000}) {
    const Answer error = ask(handler(size, false), "GET /", kGzip);
    EXPECT_EQ(error.status, 500);
    EXPECT_FALSE(error.has("Content-Encoding"));
    EXPECT_EQ(error.body, "500 Internal Server Error\n");
    const Answer cut = ask(handler(size, true), "GET /", kGzip);
    EXPECT_EQ(cut.status, 200);
    EXPECT_FALSE(cut.whole);
    EXPECT_EQ(gunzip(cut.body), text_of(size));
  }
}

TEST(Compress, what_a_failed_handler_wrote_is_forgotten) {
  for (const std::size_t size : {100, 3000}) {
    for (const char* coding : {"gzip", "br", "zstd"}) {
      const Handler handler =
          around(catch_failures([](const Request&, std::exception_ptr) {})([size](Request&, ResponseWriter& w) {
            w.set_header("Content-Type", "text/html");
            w.set_header("ETag", "\"a\"");
            w.write(text_of(size));
            throw std::runtime_error("x");
          }));
      const Answer answer = ask(handler, "GET /", "Accept-Encoding: " + std::string(coding) + "\r\n");
      EXPECT_EQ(answer.status, 500);
      EXPECT_EQ(answer.body, "500 Internal Server Error\n");
      EXPECT_FALSE(answer.has("Content-Encoding"));
      EXPECT_FALSE(answer.has("ETag"));
      EXPECT_TRUE(answer.whole);
    }
  }
}

TEST(Compress, a_client_that_goes_away_ends_it) {
  on_one_p([] {
    bool failed = false;
    Rig rig(around([&](Request&, ResponseWriter& w) {
      w.set_header("Content-Type", "text/plain");
      for (int i = 0; i < 1000 && !failed; ++i) failed = !w.write(noise(10'000));
    }));
    rig.stream.take_in_all(50'000);
    rig.stream.send(std::string("GET / HTTP/1.1\r\nHost: a\r\n") + kGzip + "\r\n");
    EXPECT_TRUE(rig.stream.pump_until([&] { return rig.stream.written().size() == 50'000; }));
    rig.stream.end(Code::kReset);
    EXPECT_TRUE(rig.stream.pump_until([&] { return rig.stream.gone(); }));
    EXPECT_TRUE(failed);
  });
}

TEST(Compress, files_and_compression_go_together) {
  std::string name = (std::filesystem::temp_directory_path() / "heddle-XXXXXX").string();
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  std::ofstream(name + "/a.txt") << text_of(50'000);
  std::ofstream(name + "/a.txt.gz") << "GZ";
  StaticFilesOptions options;
  const Handler files = around(*static_files(name, options));
  const Answer answer = ask(files, "GET /a.txt", kGzip);
  EXPECT_EQ(decode(answer), text_of(50'000));
  const std::string etag = answer.field("ETag");
  EXPECT_TRUE(etag.starts_with("W/\""));
  const Answer same = ask(files, "GET /a.txt", kGzip + ("If-None-Match: " + etag + "\r\n"));
  EXPECT_EQ(same.status, 304);
  EXPECT_EQ(same.field("ETag"), etag);
  const Answer head = ask(files, "HEAD /a.txt", kGzip);
  EXPECT_EQ(head.field("Content-Encoding"), "gzip");
  EXPECT_EQ(head.field("ETag"), etag);
  const Answer part = ask(files, "GET /a.txt", std::string(kGzip) + "Range: bytes=0-4999\r\n");
  EXPECT_EQ(part.status, 206);
  EXPECT_FALSE(part.has("Content-Encoding"));
  EXPECT_EQ(part.body, text_of(5000));
  EXPECT_EQ(part.field("Vary"), "Accept-Encoding");
  const Answer parts = ask(files, "GET /a.txt", std::string(kGzip) + "Range: bytes=0-1,9-10\r\n");
  EXPECT_EQ(parts.status, 206);
  EXPECT_EQ(parts.field("Vary"), "Accept-Encoding");
  options.precompressed = true;
  const Answer ready = ask(around(*static_files(name, options)), "GET /a.txt", kGzip);
  EXPECT_EQ(ready.body, "GZ");
  EXPECT_EQ(ready.field("Content-Encoding"), "gzip");
  EXPECT_EQ(ready.field("Vary"), "Accept-Encoding");
  std::filesystem::remove_all(name);
}

}  // namespace
}  // namespace heddle::http::test
