#include <heddle/http/internal/exchange.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace heddle::http {

// Bytes, refs and the parser's state are left as they are: each is written before it is read.
Exchange::Exchange() noexcept
    : data(reinterpret_cast<char*>(this) + sizeof(Exchange)),
      capacity(static_cast<std::uint32_t>(kExchangeSize - sizeof(Exchange))) {}

Exchange* Exchange::take() { return ::new (pool_get(PoolId::kExchange)) Exchange(); }

void Exchange::give() noexcept {
  this->~Exchange();
  pool_put(PoolId::kExchange, this);
}

void Exchange::next_head() noexcept {
  begin = read;
  scanned = read;
  phase = Phase::kBlank;
  blank_cr = false;
  blank_lines = 0;
  patched_minor = 0;
  in_value = false;
  header_count = 0;
  head = Head{};
  body = Body{};
  trailers.reset();
  id.reset();
  route = {};
}

std::size_t Exchange::append(std::span<const std::byte> bytes) noexcept {
  const std::size_t n = std::min<std::size_t>(bytes.size(), room());
  if (n != 0) std::memcpy(data + filled, bytes.data(), n);
  filled += static_cast<std::uint32_t>(n);
  return n;
}

void Exchange::compact() noexcept {
  if (begin == 0) return;
  const std::uint32_t gone = begin;
  std::memmove(data, data + gone, filled - gone);
  begin = 0;
  scanned -= gone;
  read = read < gone ? 0 : read - gone;
  visible -= gone;
  filled -= gone;
}

bool Exchange::grow(std::uint32_t limit) {
  // Room for the longest head, and a little behind it so that the parser sees that it is too long.
  if (capacity > limit) return false;
  const std::uint32_t wanted = std::min(std::max(capacity * 4, std::uint32_t{16 * 1024}), limit + 1);
  auto bigger = std::make_unique_for_overwrite<char[]>(wanted);
  std::memcpy(bigger.get(), data, filled);
  grown_ = std::move(bigger);
  data = grown_.get();
  capacity = wanted;
  return true;
}

bool Exchange::add_header(std::uint32_t limit) {
  if (header_count == limit) return false;
  if (header_count == header_room) {
    const std::uint32_t wanted = std::min(header_room * 2, limit);
    auto more = std::make_unique_for_overwrite<HeaderList::Ref[]>(wanted);
    std::copy_n(refs, header_count, more.get());
    spilled_refs_ = std::move(more);
    refs = spilled_refs_.get();
    header_room = wanted;
  }
  refs[header_count++] = HeaderList::Ref{0, 0, 0, 0};
  return true;
}

}  // namespace heddle::http
