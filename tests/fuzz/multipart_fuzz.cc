// multipart/form-data: where the reads of the body end makes no difference (multipart.h, I2); a form that was cut before its
// last delimiter never looks whole (I3); an error stays (I4); and parts of any bytes survive being written and read.
//
// Input: a byte for the limits, 4 for the splits, a body with the boundary "b".
#include <heddle/http/multipart.h>

#include <cstring>

#include "fuzz.h"

namespace heddle::http {
namespace {

struct Parts {
  std::string shown;
  Code error = Code::kOk;
  std::size_t count = 0;

  friend bool operator==(const Parts&, const Parts&) = default;
};

Parts take_apart(const std::vector<std::string_view>& pieces, std::size_t step, const MultipartLimits& limits,
                 bool skip = false) {
  std::size_t at = 0;
  std::size_t in_piece = 0;
  MultipartReader reader(
      [&](std::span<std::byte> to) -> Result<std::size_t> {
        FUZZ_CHECK(!to.empty());
        while (at < pieces.size() && in_piece == pieces[at].size()) ++at, in_piece = 0;
        if (at == pieces.size()) return std::size_t{0};
        const std::size_t n = std::min(to.size(), pieces[at].size() - in_piece);
        std::memcpy(to.data(), pieces[at].data() + in_piece, n);
        in_piece += n;
        return n;
      },
      "b", limits);
  Parts out;
  const auto buffer = std::make_unique<std::byte[]>(step);
  for (;;) {
    const Result<bool> more = reader.next();
    if (!more) {
      out.error = more.error().code;
      break;
    }
    if (!*more) {
      FUZZ_CHECK(!reader.next().value_or(true));
      return out;
    }
    FUZZ_CHECK(++out.count <= limits.max_parts);
    out.shown += "|" + reader.name() + "|";
    if (reader.filename()) {
      FUZZ_CHECK(reader.filename()->find_first_of("/\\") == std::string::npos);
      FUZZ_CHECK(*reader.filename() != "." && *reader.filename() != "..");
      out.shown += "(" + *reader.filename() + ")";
    }
    out.shown.append(reader.content_type()).append("=");
    std::uint64_t size = 0;
    while (!skip) {
      const Result<std::size_t> n = reader.read({buffer.get(), step});
      if (!n) {
        out.error = n.error().code;
        break;
      }
      if (*n == 0) break;
      FUZZ_CHECK(*n <= step);
      size += *n;
      out.shown.append(reinterpret_cast<const char*>(buffer.get()), *n);
    }
    FUZZ_CHECK(size <= limits.max_part_bytes);
    if (out.error != Code::kOk) break;
  }
  // It stays.
  const Result<bool> next = reader.next();
  const Result<std::size_t> read = reader.read({buffer.get(), step});
  FUZZ_CHECK(!next && next.error().code == out.error);
  FUZZ_CHECK(!read && read.error().code == out.error);
  return out;
}

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  using heddle::Code;
  static const MultipartLimits kAll[] = {
      {}, {.max_parts = 3, .max_header_bytes = 100, .max_part_bytes = 30, .max_outside_bytes = 20}};
  heddle::fuzz::Input input(data, size);
  const MultipartLimits& limits = kAll[input.below(2)];
  const std::uint64_t seed = input.word();
  const std::string body = input.rest();
  const Parts whole = take_apart({body}, 1 << 14, limits);
  if (whole.error == Code::kOk) {
    FUZZ_CHECK(take_apart(heddle::fuzz::cut(body, seed), 1 + seed % 40, limits) == whole);
    FUZZ_CHECK(take_apart(heddle::fuzz::cut(body, 0), 1, limits) == whole);
    FUZZ_CHECK(take_apart({body}, 1, limits, true).count == whole.count);
    const std::size_t end = body.starts_with("--b--") ? 0 : body.find("\r\n--b--");
    FUZZ_CHECK(end != std::string::npos);
    const std::string_view cut = std::string_view(body).substr(0, end + (end == 0 ? 4 : 6));
    FUZZ_CHECK(take_apart({cut}, 100, limits).error != Code::kOk);
  } else {
    // What it had given out until then may differ with the reads; that it fails may not, nor how many parts it began.
    for (const std::uint64_t s : {seed, std::uint64_t{0}}) {
      const Parts split = take_apart(heddle::fuzz::cut(body, s), 1 + seed % 40, limits);
      FUZZ_CHECK(split.error == whole.error && split.count == whole.count);
    }
  }

  // The input's lines as parts of their own, in a form as it should be.
  std::string form;
  std::string wanted;
  std::size_t parts = 0;
  for (heddle::fuzz::Input lines(data, size); !lines.empty() && parts < 20; ++parts) {
    std::string value = lines.line();
    for (std::size_t at; (at = value.find("\r\n--b")) != std::string::npos;) value.erase(at, 1);
    if (value.starts_with("--b")) value.erase(0, 1);
    form += "--b\r\nContent-Disposition: form-data; name=\"n" + std::to_string(parts) + "\"\r\n\r\n" + value + "\r\n";
    wanted += "|n" + std::to_string(parts) + "|=" + value;
  }
  form += "--b--";
  const Parts back = take_apart(heddle::fuzz::cut(form, seed), 1 + seed % 40, {});
  FUZZ_CHECK(back.error == Code::kOk);
  FUZZ_SAME(back.shown, wanted);
  return 0;
}
