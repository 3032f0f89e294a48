#include <heddle/http/internal/file_body.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <heddle/http/internal/pool.h>

namespace heddle::http {
namespace {

// From so many bytes on, sendfile(2) and the calls around it cost less than reading and writing.
constexpr std::uint64_t kWorthIt = 4 * kBufferSize;

class Buffer {
 public:
  Buffer() : data_(static_cast<std::byte*>(pool_get(PoolId::kBuffer))) {}
  ~Buffer() { pool_put(PoolId::kBuffer, data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  [[nodiscard]] std::span<std::byte> first(std::uint64_t most) const noexcept {
    return {data_, static_cast<std::size_t>(std::min<std::uint64_t>(most, kBufferSize))};
  }

 private:
  std::byte* data_;
};

}  // namespace

bool FileBody::write(const ByteRange& range) {
  const Buffer buffer;
  for (std::uint64_t done = 0; done < range.size;) {
    const std::span<std::byte> piece = buffer.first(range.size - done);
    const Result<std::size_t> n = file_.read_at(range.first + done, piece);
    if (!n || *n != piece.size()) return false;
    const bool first = done == 0;
    done += *n;
    if (done == range.size && !is_as_opened()) return false;  // keeps F1
    if (!writer_.write(std::span<const std::byte>(piece))) return false;
    if (!first || range.size - done < kWorthIt) continue;
    done += writer_.send_file(file_.native_handle(), range.first + done, range.size - done - kBufferSize);
  }
  return true;
}

// Not File::stat(): fstat(2) of a file that was just read does not wait, and would cost a hop to a helper.
bool FileBody::is_as_opened() const noexcept {
  struct stat now {};
  return ::fstat(file_.native_handle(), &now) == 0 && now.st_size == as_opened_.st_size &&
         now.st_mtim.tv_sec == as_opened_.st_mtim.tv_sec && now.st_mtim.tv_nsec == as_opened_.st_mtim.tv_nsec;
}

}  // namespace heddle::http
