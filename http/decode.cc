#include <heddle/http/decode.h>

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <new>
#include <span>
#include <utility>

#include <heddle/http/header.h>

namespace heddle::http {
namespace {

constexpr int kZstdWindowBits = 23;       // RFC 9659 s3
constexpr std::size_t kChunk = 8 * 1024;  // of encoded bytes

struct Step {
  std::size_t produced = 0;
  Code failure = Code::kOk;
  bool ended = false;  // at the end of a stream of the coding: no bytes may follow, or another one
};

// Each takes from `in`, which becomes what is left, and writes to `out`, which is not empty.

class Gunzip {
 public:
  Gunzip() {
    if (::inflateInit2(&stream_, 15 + 16) != Z_OK) throw std::bad_alloc();  // 16: gzip's head and checksum
  }
  ~Gunzip() { ::inflateEnd(&stream_); }
  Gunzip(const Gunzip&) = delete;
  Gunzip& operator=(const Gunzip&) = delete;

  Step step(std::string_view& in, std::span<char> out) noexcept {
    if (std::exchange(ended_, false)) ::inflateReset(&stream_);
    const auto size = static_cast<uInt>(in.size());  // at most kChunk
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream_.avail_in = size;
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    const auto room = static_cast<uInt>(std::min<std::size_t>(out.size(), std::numeric_limits<uInt>::max()));
    stream_.avail_out = room;
    const int status = ::inflate(&stream_, Z_NO_FLUSH);
    in.remove_prefix(size - stream_.avail_in);
    ended_ = status == Z_STREAM_END;
    const bool right = ended_ || status == Z_OK || status == Z_BUF_ERROR;  // the last: nothing to do
    return {.produced = room - stream_.avail_out,
            .failure = right                   ? Code::kOk
                       : status == Z_MEM_ERROR ? Code::kNoResources
                                               : Code::kProtocol,
            .ended = ended_};
  }

 private:
  z_stream stream_{};
  bool ended_ = false;
};

class Unbrotli {
 public:
  Unbrotli() : state_(::BrotliDecoderCreateInstance(nullptr, nullptr, nullptr)) {
    if (state_ == nullptr) throw std::bad_alloc();
  }
  ~Unbrotli() { ::BrotliDecoderDestroyInstance(state_); }
  Unbrotli(const Unbrotli&) = delete;
  Unbrotli& operator=(const Unbrotli&) = delete;

  Step step(std::string_view& in, std::span<char> out) noexcept {
    if (ended_) return {.failure = Code::kProtocol};
    std::size_t in_left = in.size();
    const auto* next_in = reinterpret_cast<const std::uint8_t*>(in.data());
    std::size_t out_left = out.size();
    auto* next_out = reinterpret_cast<std::uint8_t*>(out.data());
    const auto status = ::BrotliDecoderDecompressStream(state_, &in_left, &next_in, &out_left, &next_out, nullptr);
    in.remove_prefix(in.size() - in_left);
    ended_ = status == BROTLI_DECODER_RESULT_SUCCESS;
    return {.produced = out.size() - out_left,
            .failure = status == BROTLI_DECODER_RESULT_ERROR ? Code::kProtocol : Code::kOk,
            .ended = ended_};
  }

 private:
  BrotliDecoderState* const state_;
  bool ended_ = false;
};

class Unzstd {
 public:
  Unzstd() : context_(::ZSTD_createDCtx()) {
    if (context_ == nullptr) throw std::bad_alloc();
    ::ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, kZstdWindowBits);
  }
  ~Unzstd() { ::ZSTD_freeDCtx(context_); }
  Unzstd(const Unzstd&) = delete;
  Unzstd& operator=(const Unzstd&) = delete;

  Step step(std::string_view& in, std::span<char> out) noexcept {
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const std::size_t left = ::ZSTD_decompressStream(context_, &to, &from);
    in.remove_prefix(from.pos);
    return {.produced = to.pos, .failure = ::ZSTD_isError(left) != 0 ? Code::kProtocol : Code::kOk, .ended = left == 0};
  }

 private:
  ZSTD_DCtx* const context_;
};

template <class Decoder>
class Decoding final : public net::Reader {
 public:
  explicit Decoding(net::Reader& encoded) : encoded_(encoded) {}

  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override {
    if (failure_.code != Code::kOk) return std::unexpected(failure_);
    const std::span<char> out(reinterpret_cast<char*>(buf.data()), buf.size());
    while (!out.empty()) {
      // At the end of a stream only more bytes can begin another one; else there may be output without input.
      if (!in_.empty() || !ended_) {
        const Step step = decoder_.step(in_, out);
        if (step.failure != Code::kOk) return fail({step.failure, 0, kOp});
        ended_ = step.ended;
        if (step.produced != 0) return step.produced;
      }
      if (!in_.empty()) continue;
      const Result<std::size_t> n = encoded_.read(std::as_writable_bytes(std::span(chunk_)));
      if (!n) return fail(n.error());
      if (*n == 0) {
        if (!ended_) return fail({Code::kEof, 0, kOp});
        break;
      }
      in_ = {chunk_.data(), *n};
    }
    return std::size_t{0};
  }

 private:
  static constexpr const char* kOp = "http: decode body";

  std::unexpected<Error> fail(const Error& error) {
    failure_ = error;
    return std::unexpected(error);
  }

  net::Reader& encoded_;
  Decoder decoder_;
  std::array<char, kChunk> chunk_;
  std::string_view in_;  // what is left of chunk_
  bool ended_ = true;    // nothing has begun
  Error failure_;
};

}  // namespace

std::unique_ptr<net::Reader> decode_coding(std::string_view coding, net::Reader& encoded) {
  if (equal_fold(coding, "gzip") || equal_fold(coding, "x-gzip")) return std::make_unique<Decoding<Gunzip>>(encoded);
  if (equal_fold(coding, "br")) return std::make_unique<Decoding<Unbrotli>>(encoded);
  if (equal_fold(coding, "zstd")) return std::make_unique<Decoding<Unzstd>>(encoded);
  return nullptr;
}

}  // namespace heddle::http
