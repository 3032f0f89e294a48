// NetworkCounts: how many connections each client's network has, so that none has more than its share.
//
//   network --siphash with a secret--> shard (its lock, its table) --> count
//
// Workers accept at once; a shard's lock is held for one look into a small table, so that they hardly ever meet.
//
// I1. Memory is bounded by the connections there are: a count that comes to nothing is forgotten.
// I2. Networks are hashed with a secret, so that nobody can choose addresses that make one shard or chain long. By chance
//     two of 2^64 hashes are equal: those share a count.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include <heddle/core/lock.h>

namespace heddle::http {

class NetworkCounts {
 public:
  explicit NetworkCounts(std::size_t most);

  /// Counts one more connection; false if the network has as many as it may. Throws std::bad_alloc, having counted nothing.
  /// Threads: any. Never parks.
  [[nodiscard]] bool enter(std::uint64_t network);
  /// One connection that entered is gone. Threads: any. Never parks.
  void leave(std::uint64_t network) noexcept;

 private:
  static constexpr std::size_t kShards = 64;

  struct alignas(64) Shard {
    RawMutex lock{LockRank::kLeaf};
    std::unordered_map<std::uint64_t, std::size_t> counts;  // guarded by lock; by hash
  };

  [[nodiscard]] std::uint64_t hash(std::uint64_t network) const noexcept;

  const std::size_t most_;
  std::array<std::uint64_t, 2> secret_;
  std::array<Shard, kShards> shards_;
};

}  // namespace heddle::http
