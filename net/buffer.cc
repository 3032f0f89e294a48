#include <heddle/net/buffer.h>

#include <array>
#include <utility>

namespace heddle::net {
namespace {

template <BufferSize size>
struct Make {
  std::unique_ptr<std::byte[]> operator()() const {
    return std::make_unique_for_overwrite<std::byte[]>(capacity_of(size));
  }
};

template <BufferSize size>
using SizePool = Pool<std::unique_ptr<std::byte[]>, Make<size>>;

// Never destroyed: a goroutine that run() abandoned may have a buffer of theirs, and exit() runs under other threads.
template <BufferSize size>
SizePool<size>& pool() {
  static auto& it = *new SizePool<size>;
  return it;
}

}  // namespace

Buffer Buffer::take(BufferSize size) {
  switch (size) {
    case BufferSize::k4K: return Buffer(pool<BufferSize::k4K>().get());
    case BufferSize::k16K: return Buffer(pool<BufferSize::k16K>().get());
    case BufferSize::k64K: return Buffer(pool<BufferSize::k64K>().get());
  }
  std::unreachable();
}

}  // namespace heddle::net
