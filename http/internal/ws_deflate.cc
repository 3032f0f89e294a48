#include <heddle/http/internal/ws_deflate.h>

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

namespace heddle::http::ws {
namespace {

constexpr std::size_t kPiece = 4096;
constexpr std::string_view kTail("\x00\x00\xff\xff", 4);

// The front of `bytes`, no longer than zlib can be told.
std::string_view next_run(std::string_view bytes) noexcept {
  return bytes.substr(0, std::numeric_limits<uInt>::max() / 2);
}

void give(z_stream& z, std::string_view bytes) noexcept {
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
}

}  // namespace

struct Deflater::Stream {
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { ::deflateEnd(&z); }  // also of one that was never begun
  z_stream z{};
};

Deflater::Deflater(int bits, int level, bool takeover) noexcept : bits_(bits), level_(level), takeover_(takeover) {}
Deflater::~Deflater() = default;

bool Deflater::take(std::string_view bytes, bool last, std::string& out) {
  if (stream_ == nullptr) {
    stream_ = std::make_unique<Stream>();
    constexpr int kMemory = 8;  // zlib's default: 128 KiB
    if (::deflateInit2(&stream_->z, level_, Z_DEFLATED, -bits_, kMemory, Z_DEFAULT_STRATEGY) != Z_OK) return false;
  }
  z_stream& z = stream_->z;
  std::array<char, kPiece> piece;
  for (bool more = true; more;) {
    const std::string_view run = next_run(bytes);
    bytes.remove_prefix(run.size());
    more = !bytes.empty();
    give(z, run);
    do {
      z.next_out = reinterpret_cast<Bytef*>(piece.data());
      z.avail_out = static_cast<uInt>(piece.size());
      const int status = ::deflate(&z, last && !more ? Z_SYNC_FLUSH : Z_NO_FLUSH);
      if (status != Z_OK && status != Z_BUF_ERROR) return false;  // the latter: nothing to do
      out.append(piece.data(), piece.size() - z.avail_out);
    } while (z.avail_out == 0);
  }
  if (last && !takeover_) stream_.reset();  // keeps I1
  return true;
}

struct Inflater::Stream {
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { ::inflateEnd(&z); }
  z_stream z{};
};

// No window is below 9: some that say 8 mean that (zlib's deflate has no 8), and a larger one reads both.
Inflater::Inflater(int bits, bool takeover) noexcept : bits_(std::max(bits, 9)), takeover_(takeover) {}
Inflater::~Inflater() = default;

Inflater::Status Inflater::take(std::string_view bytes, bool last, std::size_t most, std::string& out, Check check,
                                void* arg) {
  if (stream_ == nullptr) {
    stream_ = std::make_unique<Stream>();
    if (::inflateInit2(&stream_->z, -bits_) != Z_OK) return Status::kNoMemory;
  }
  Status status = run(bytes, most, out, check, arg);
  if (status == Status::kOk && last) {
    status = run(kTail, most, out, check, arg);
    if (!takeover_) stream_.reset();  // keeps I1
  }
  return status;
}

Inflater::Status Inflater::run(std::string_view bytes, std::size_t most, std::string& out, Check check, void* arg) {
  z_stream& z = stream_->z;
  std::array<char, kPiece> piece;
  while (!bytes.empty()) {
    const std::string_view run = next_run(bytes);
    bytes.remove_prefix(run.size());
    give(z, run);
    do {
      z.next_out = reinterpret_cast<Bytef*>(piece.data());
      z.avail_out = static_cast<uInt>(piece.size());
      const int status = ::inflate(&z, Z_SYNC_FLUSH);
      if (status == Z_MEM_ERROR) return Status::kNoMemory;
      const std::string_view text(piece.data(), piece.size() - z.avail_out);
      const std::string_view allowed = text.substr(0, most - out.size());
      if (!check(arg, allowed)) return Status::kRefused;        // keeps I3, as does the order of what follows
      if (text.size() > allowed.size()) return Status::kLimit;  // keeps I2
      if (status != Z_OK && status != Z_BUF_ERROR && status != Z_STREAM_END) return Status::kBroken;
      out += text;
      if (status == Z_STREAM_END) {
        // A block said that it is the last one: legal, and others may follow (s7.2.3.4). They refer to what was before.
        std::vector<Bytef> window(std::size_t{1} << 15);
        auto size = static_cast<uInt>(window.size());
        if (::inflateGetDictionary(&z, window.data(), &size) != Z_OK || ::inflateReset(&z) != Z_OK ||
            ::inflateSetDictionary(&z, window.data(), size) != Z_OK) {
          return Status::kNoMemory;
        }
        z.avail_out = z.avail_in != 0 ? 0 : 1;  // goes on as long as there is input
      } else if (status == Z_BUF_ERROR && z.avail_out != 0) {
        break;
      }
    } while (z.avail_out == 0 || z.avail_in != 0);
  }
  return Status::kOk;
}

}  // namespace heddle::http::ws
