#include <heddle/http/internal/network_counts.h>

#include <sys/random.h>

#include <string_view>

#include <heddle/core/check.h>
#include <heddle/http/internal/siphash.h>

namespace heddle::http {

NetworkCounts::NetworkCounts(std::size_t most) : most_(most) {
  HEDDLE_CHECK(::getrandom(secret_.data(), sizeof secret_, 0) == static_cast<ssize_t>(sizeof secret_));
}

bool NetworkCounts::enter(std::uint64_t network) {
  const std::uint64_t key = hash(network);
  Shard& shard = shards_[key % kShards];
  LockGuard guard(shard.lock);
  std::size_t& count = shard.counts[key];
  if (count >= most_) return false;
  ++count;
  return true;
}

void NetworkCounts::leave(std::uint64_t network) noexcept {
  const std::uint64_t key = hash(network);
  Shard& shard = shards_[key % kShards];
  LockGuard guard(shard.lock);
  const auto at = shard.counts.find(key);
  HEDDLE_CHECK(at != shard.counts.end());
  if (--at->second == 0) shard.counts.erase(at);  // keeps I1
}

std::uint64_t NetworkCounts::hash(std::uint64_t network) const noexcept {
  return siphash(secret_[0], secret_[1], {reinterpret_cast<const char*>(&network), sizeof network});
}

}  // namespace heddle::http
