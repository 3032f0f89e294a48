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
constexpr std::string_view kEmptyBlock("\x00\x00\x00\xff\xff", 5);  // that begins on a byte

// z_stream::data_type behind an inflate(): these, and how many bits of the last byte are left (zlib.h, inflate()).
constexpr int kLastBlock = 64;
constexpr int kBehindBlock = 128;
constexpr int kBehindBlockHead = 256;

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
  if (!bytes.empty()) {
    flushed_ = false;
    if (!run(bytes, last ? Z_SYNC_FLUSH : Z_NO_FLUSH, out)) return false;
  } else if (last && !flushed_) {
    if (!run({}, Z_SYNC_FLUSH, out)) return false;
  } else if (last) {
    out.append(kEmptyBlock);  // zlib flushes nothing twice
  }
  if (!last) return true;
  flushed_ = true;
  if (!takeover_) stream_.reset();  // keeps I1
  return true;
}

bool Deflater::flush(std::string& out) {
  if (flushed_) return true;
  flushed_ = true;
  return run({}, Z_SYNC_FLUSH, out);
}

bool Deflater::run(std::string_view bytes, int flush, std::string& out) {
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
      const int status = ::deflate(&z, more ? Z_NO_FLUSH : flush);
      if (status != Z_OK && status != Z_BUF_ERROR) return false;  // the latter: nothing to do
      out.append(piece.data(), piece.size() - z.avail_out);
    } while (z.avail_out == 0);
  }
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

Inflater::Status Inflater::take(std::string_view& bytes, std::size_t room, std::size_t most, std::string& out,
                                Check check, void* arg) {
  if (stream_ == nullptr) {
    stream_ = std::make_unique<Stream>();
    if (::inflateInit2(&stream_->z, -bits_) != Z_OK) return Status::kNoMemory;
  }
  z_stream& z = stream_->z;
  std::array<char, kPiece> piece;
  while (room != 0) {
    const std::string_view run = next_run(bytes);
    const std::size_t size = std::min(piece.size(), room);
    give(z, run);
    z.next_out = reinterpret_cast<Bytef*>(piece.data());
    z.avail_out = static_cast<uInt>(size);
    const int status = ::inflate(&z, Z_SYNC_FLUSH);
    const std::size_t taken = run.size() - z.avail_in;
    bytes.remove_prefix(taken);
    if (status == Z_MEM_ERROR) return Status::kNoMemory;
    const std::string_view text(piece.data(), size - z.avail_out);
    const std::string_view allowed = text.substr(0, most);
    if (!check(arg, allowed)) return Status::kRefused;        // keeps I3, as does the order of what follows
    if (text.size() > allowed.size()) return Status::kLimit;  // keeps I2
    if (status != Z_OK && status != Z_BUF_ERROR && status != Z_STREAM_END) return Status::kBroken;
    out += text;
    room -= text.size();
    most -= text.size();
    if (taken != 0) at_edge_ = false;
    if (status == Z_STREAM_END) {
      // A block said that it is the last one: legal, and others may follow (s7.2.3.4).
      if (!restart()) return Status::kNoMemory;
      at_edge_ = true;
      if (bytes.empty()) return Status::kOk;
    } else if (bytes.empty() && z.avail_out != 0) {
      return Status::kOk;
    }
  }
  return Status::kFull;
}

Inflater::Status Inflater::finish() {
  if (!at_edge_ && !end_empty_block()) return Status::kBroken;
  at_edge_ = true;
  if (!takeover_) stream_.reset();  // keeps I1
  return Status::kOk;
}

// Puts back the four bytes; false if they are not the lengths of an empty block without compression.
bool Inflater::end_empty_block() {
  z_stream& z = stream_->z;
  char none = 0;
  give(z, kTail);
  z.next_out = reinterpret_cast<Bytef*>(&none);
  z.avail_out = 1;
  // Stops behind the head of a block, of which its lengths are a part. Where the message was cut within a block, the four bytes
  // are data, codes, or some of another block's head: then zlib stops before their end, gives a byte, or wants more.
  if (::inflate(&z, Z_TREES) != Z_OK || z.avail_in != 0 || z.avail_out != 1 ||
      (z.data_type & ~kLastBlock) != kBehindBlockHead) {
    return false;
  }
  // An empty block ends at once. One whose own codes the four bytes were the last of does not.
  const int status = ::inflate(&z, Z_BLOCK);
  if ((status != Z_OK && status != Z_BUF_ERROR) || (z.data_type & ~kLastBlock) != kBehindBlock) return false;
  return (z.data_type & kLastBlock) == 0 || (::inflate(&z, Z_SYNC_FLUSH) == Z_STREAM_END && restart());
}

// What follows is a new stream for zlib; it refers to what was before all the same.
bool Inflater::restart() {
  z_stream& z = stream_->z;
  std::vector<Bytef> window(std::size_t{1} << 15);
  auto size = static_cast<uInt>(window.size());
  return ::inflateGetDictionary(&z, window.data(), &size) == Z_OK && ::inflateReset(&z) == Z_OK &&
         ::inflateSetDictionary(&z, window.data(), size) == Z_OK;
}

}  // namespace heddle::http::ws
