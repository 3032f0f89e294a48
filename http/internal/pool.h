// BlockPool: fixed-size memory for connections, heads and buffers, without a malloc per request.
//
// A thread keeps a few free blocks of each pool (last in, first out, so that they are hot); what is more goes in
// batches to a list that all threads share, and past a bound back to malloc. Pools are process-wide, as malloc is:
// blocks are taken on the home worker's M and often given back on another.
//
// I1. get() and put() are out of line and do not park, so the address of the thread's cache is never kept across a
//     park.
// I2. A block is in one place: in use, in one thread's cache, or in the shared list (guarded by its lock).
// I3. Under AddressSanitizer nothing is pooled: every block is malloc's, so that a use after free is seen as one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace heddle::http {

enum class PoolId : std::uint8_t {
  kConn,      // one ServerConn
  kExchange,  // one request's head and first bytes
  kBuffer,    // 16 KiB: output, and input that waits
};
inline constexpr std::size_t kPoolCount = 3;

inline constexpr std::size_t kConnSize = 288;
inline constexpr std::size_t kExchangeSize = 8 * 1024;
inline constexpr std::size_t kBufferSize = 16 * 1024;

/// A block of the pool's size, aligned to 16 bytes, not initialised. Throws std::bad_alloc. Threads: any.
[[nodiscard]] void* pool_get(PoolId id);

/// Gives a block back. Threads: any.
void pool_put(PoolId id, void* block) noexcept;

}  // namespace heddle::http
