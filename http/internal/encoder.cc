#include <heddle/http/internal/encoder.h>

#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace heddle::http {
namespace {

// Windows of 256 KiB: what is gained beyond is little for texts of the web, and both sides pay with memory for it.
// (gzip's is 32 KiB at most. zstd: RFC 9659 permits 8 MiB.)
constexpr int kWindowBits = 18;

class GzipEncoder final : public Encoder {
 public:
  explicit GzipEncoder(int level) noexcept : level_(level) {}
  ~GzipEncoder() override {
    if (made_) ::deflateEnd(&stream_);
  }

  bool restart() noexcept override {
    if (made_) return ::deflateReset(&stream_) == Z_OK;
    constexpr int kGzip = 15 + 16;  // the largest window; 16: with gzip's head and checksum
    constexpr int kMemory = 8;      // zlib's default: 128 KiB
    made_ = ::deflateInit2(&stream_, level_, Z_DEFLATED, kGzip, kMemory, Z_DEFAULT_STRATEGY) == Z_OK;
    return made_;
  }

  Step step(std::string_view& in, std::span<char> out, Until until) noexcept override {
    const auto size = static_cast<uInt>(std::min<std::size_t>(in.size(), std::numeric_limits<uInt>::max()));
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream_.avail_in = size;
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const bool last = size == in.size();
    const int status = ::deflate(&stream_, !last || until == Until::kTaken ? Z_NO_FLUSH
                                           : until == Until::kFlushed      ? Z_SYNC_FLUSH
                                                                           : Z_FINISH);
    in.remove_prefix(size - stream_.avail_in);
    Step step{.produced = out.size() - stream_.avail_out};
    step.failed = status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR;  // the last: nothing to do
    step.done = until == Until::kEnded ? status == Z_STREAM_END : in.empty() && stream_.avail_out != 0;
    return step;
  }

 private:
  const int level_;
  z_stream stream_{};
  bool made_ = false;
};

class BrotliEncoder final : public Encoder {
 public:
  explicit BrotliEncoder(int level) noexcept : level_(level) {}
  ~BrotliEncoder() override { drop(); }

  bool restart() noexcept override {
    drop();
    state_ = ::BrotliEncoderCreateInstance(nullptr, nullptr, nullptr);
    return state_ != nullptr &&
           ::BrotliEncoderSetParameter(state_, BROTLI_PARAM_QUALITY, static_cast<std::uint32_t>(level_)) ==
               BROTLI_TRUE &&
           ::BrotliEncoderSetParameter(state_, BROTLI_PARAM_LGWIN, kWindowBits) == BROTLI_TRUE;
  }

  Step step(std::string_view& in, std::span<char> out, Until until) noexcept override {
    std::size_t in_left = in.size();
    const auto* next_in = reinterpret_cast<const std::uint8_t*>(in.data());
    std::size_t out_left = out.size();
    auto* next_out = reinterpret_cast<std::uint8_t*>(out.data());
    const BrotliEncoderOperation operation = until == Until::kTaken     ? BROTLI_OPERATION_PROCESS
                                             : until == Until::kFlushed ? BROTLI_OPERATION_FLUSH
                                                                        : BROTLI_OPERATION_FINISH;
    Step step;
    step.failed = ::BrotliEncoderCompressStream(state_, operation, &in_left, &next_in, &out_left, &next_out, nullptr) ==
                  BROTLI_FALSE;
    in.remove_prefix(in.size() - in_left);
    step.produced = out.size() - out_left;
    step.done = until == Until::kEnded ? ::BrotliEncoderIsFinished(state_) == BROTLI_TRUE
                                       : in.empty() && ::BrotliEncoderHasMoreOutput(state_) == BROTLI_FALSE;
    return step;
  }

 private:
  void drop() noexcept {
    if (state_ != nullptr) ::BrotliEncoderDestroyInstance(std::exchange(state_, nullptr));
  }

  const int level_;
  BrotliEncoderState* state_ = nullptr;
};

class ZstdEncoder final : public Encoder {
 public:
  explicit ZstdEncoder(int level) noexcept : level_(level) {}
  ~ZstdEncoder() override { ::ZSTD_freeCCtx(context_); }

  bool restart() noexcept override {
    if (context_ == nullptr) context_ = ::ZSTD_createCCtx();
    return context_ != nullptr && worked(::ZSTD_CCtx_reset(context_, ZSTD_reset_session_and_parameters)) &&
           worked(::ZSTD_CCtx_setParameter(context_, ZSTD_c_compressionLevel, level_)) &&
           worked(::ZSTD_CCtx_setParameter(context_, ZSTD_c_windowLog, kWindowBits));
  }

  Step step(std::string_view& in, std::span<char> out, Until until) noexcept override {
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const ZSTD_EndDirective end = until == Until::kTaken     ? ZSTD_e_continue
                                  : until == Until::kFlushed ? ZSTD_e_flush
                                                             : ZSTD_e_end;
    const std::size_t left = ::ZSTD_compressStream2(context_, &to, &from, end);
    in.remove_prefix(from.pos);
    Step step{.produced = to.pos};
    step.failed = !worked(left);
    step.done = until == Until::kTaken ? in.empty() : left == 0;
    return step;
  }

 private:
  static bool worked(std::size_t status) noexcept { return ::ZSTD_isError(status) == 0; }

  const int level_;
  ZSTD_CCtx* context_ = nullptr;
};

}  // namespace

std::unique_ptr<Encoder> make_encoder(Coding coding, int level) {
  switch (coding) {
    case Coding::kGzip: return std::make_unique<GzipEncoder>(level);
    case Coding::kBrotli: return std::make_unique<BrotliEncoder>(level);
    case Coding::kZstd: return std::make_unique<ZstdEncoder>(level);
  }
  std::unreachable();
}

bool is_level(Coding coding, int level) noexcept {
  switch (coding) {
    case Coding::kGzip: return level >= 1 && level <= 9;
    case Coding::kBrotli: return level >= BROTLI_MIN_QUALITY && level <= BROTLI_MAX_QUALITY;
    case Coding::kZstd: return level >= 1 && level <= 19;  // beyond, memory grows to hundreds of MiB
  }
  std::unreachable();
}

}  // namespace heddle::http
