#include <heddle/http/internal/output.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include <heddle/core/check.h>
#include <heddle/core/go.h>
#include <heddle/core/park.h>
#include <heddle/http/internal/wall_clock.h>

namespace heddle::http {

Output::~Output() {
  HEDDLE_CHECK(flight_.load(std::memory_order_relaxed) == kNone);  // relaxed: only the owner leaves kNone
  drop();
}

bool Output::make_room(std::size_t n) {
  if (failed()) return false;
  if (block_ == nullptr && !take()) return false;
  if (kCapacity - block_->end >= n) [[likely]]
    return true;
  if (pending() && !flush()) return false;
  if (block_ == nullptr && !take()) return false;  // all of it went
  if (block_->begin != 0) {
    const std::uint32_t size = block_->end - block_->committed;
    std::memmove(block_->data, block_->data + block_->committed, size);
    block_->begin = block_->committed = 0;
    block_->end = size;
  }
  return kCapacity - block_->end >= n;
}

void Output::append(const void* bytes, std::size_t n) noexcept {
  if (n != 0) std::memcpy(tail(), bytes, n);
  advance(n);
}

bool Output::insert_before_current(std::string_view text) {
  if (!make_room(text.size())) return false;
  char* at = current();
  std::memmove(at + text.size(), at, current_size());
  std::memcpy(at, text.data(), text.size());
  block_->committed += static_cast<std::uint32_t>(text.size());
  block_->end += static_cast<std::uint32_t>(text.size());
  return true;
}

bool Output::flush_with(std::span<const iovec> more) {
  join();
  std::array<iovec, 4> list;
  HEDDLE_CHECK(more.size() <= list.size() - 1);
  std::size_t skip = 0;  // bytes of `more` that went out already
  for (;;) {
    if (failed()) return false;
    std::size_t count = 0;
    const std::size_t own = block_ == nullptr ? 0 : block_->committed - block_->begin;
    if (own != 0) list[count++] = {block_->data + block_->begin, own};
    std::size_t passed = skip;
    for (const iovec& v : more) {
      const std::size_t gone = std::min(passed, v.iov_len);
      passed -= gone;
      if (gone < v.iov_len) list[count++] = {static_cast<char*>(v.iov_base) + gone, v.iov_len - gone};
    }
    if (count == 0) return true;
    const Result<std::size_t> sent = stream_->try_writev({list.data(), count});
    if (sent) {
      note_sent(*sent);
      const std::size_t ours = std::min(*sent, own);
      if (ours != 0) {
        block_->begin += static_cast<std::uint32_t>(ours);
        settle();
      }
      skip += *sent - ours;
    } else if (sent.error().code != Code::kWouldBlock) {
      return fail(sent.error());
    } else if (const Result<void> writable = wait(); !writable) {
      return fail(writable.error());
    }
  }
}

std::uint64_t Output::flush_with_file(int file, std::uint64_t offset, std::uint64_t size) {
  std::uint64_t sent = 0;
  if (!flush()) return sent;
  while (sent < size) {
    const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(size - sent, std::size_t{1} << 30));
    const Result<std::size_t> n = stream_->send_of_file(file, offset + sent, most);
    if (n) {
      if (*n == 0) break;
      note_sent(static_cast<std::size_t>(*n));
      sent += *n;
    } else if (n.error().code == Code::kUnsupported) {
      break;
    } else if (n.error().code != Code::kWouldBlock) {
      fail(n.error());
      break;
    } else if (const Result<void> writable = wait(); !writable) {
      fail(writable.error());
      break;
    }
  }
  return sent;
}

void Output::send_some() noexcept {
  // relaxed: only the owner, who calls, leaves kNone.
  if (flight_.load(std::memory_order_relaxed) != kNone) return;
  while (!failed() && pending()) {
    const iovec v{block_->data + block_->begin, block_->committed - block_->begin};
    const Result<std::size_t> sent = stream_->try_writev({&v, 1});
    if (!sent) {
      if (sent.error().code != Code::kWouldBlock) fail(sent.error());
      return;
    }
    note_sent(*sent);
    block_->begin += static_cast<std::uint32_t>(*sent);
    settle();
  }
}

void Output::send_meanwhile() {
  // relaxed: as in send_some().
  if (flight_.load(std::memory_order_relaxed) != kNone && block_->begin + aloft_ != block_->committed) join();
  send_some();
  send_aside();
}

void Output::send_aside() noexcept {
  // relaxed: as in send_some().
  if (failed() || !pending() || flight_.load(std::memory_order_relaxed) != kNone) return;
  flight_.store(kFlying, std::memory_order_relaxed);  // relaxed: start_g() publishes it
  aloft_ = block_->committed - block_->begin;
  try {
    static constexpr GoOptions kOptions{.name = "http send", .stack = StackSize::kSmall};
    go(kOptions, [this, bytes = block_->data + block_->begin, size = std::size_t{aloft_}] { fly(bytes, size); });
  } catch (const std::bad_alloc&) {
    flight_.store(kNone, std::memory_order_relaxed);  // relaxed: nobody else knows of it; the next flush sends
  }
}

// On the goroutine aside.
void Output::fly(const char* bytes, std::size_t size) noexcept {
  std::size_t sent = 0;
  Error error{};
  while (sent < size && error.code == Code::kOk) {
    const iovec v{const_cast<char*>(bytes) + sent, size - sent};
    if (const Result<std::size_t> n = stream_->try_writev({&v, 1})) {
      sent += *n;
    } else if (n.error().code != Code::kWouldBlock) {
      error = n.error();
    } else if (const Result<void> writable = wait(); !writable) {
      error = writable.error();
    }
  }
  flown_ = static_cast<std::uint32_t>(sent);
  flight_error_ = error;
  // release: publishes the result to join(); acquire: sees the G that it announced. The last touch of the object (I3).
  const std::uintptr_t was = flight_.exchange(kLanded, std::memory_order_acq_rel);
  if (was != kFlying) ready(reinterpret_cast<G*>(was));
}

// Waits for the goroutine aside, if there is one, and takes over what it did.
void Output::join() {
  // acquire: the result; pairs with the release in fly().
  std::uintptr_t flight = flight_.load(std::memory_order_acquire);
  if (flight == kNone) [[likely]]
    return;
  if (flight == kFlying) {
    set_on_park(nullptr, nullptr);
    park(
        [](G* g, void* flight_word) {
          std::uintptr_t flying = kFlying;
          // release: publishes the parked G to fly(), which readies it; acquire on failure: it has landed.
          return static_cast<std::atomic<std::uintptr_t>*>(flight_word)
              ->compare_exchange_strong(flying, reinterpret_cast<std::uintptr_t>(g), std::memory_order_release,
                                        std::memory_order_acquire);
        },
        &flight_, WaitReason::kHttpWrite);
    flight = flight_.load(std::memory_order_acquire);  // acquire: as above
    HEDDLE_CHECK(flight == kLanded);
  }
  flight_.store(kNone, std::memory_order_relaxed);  // relaxed: ours alone again
  note_sent(flown_);
  block_->begin += flown_;
  settle();
  if (flight_error_.code != Code::kOk) fail(flight_error_);
}

Result<void> Output::wait() {
  set_on_park(nullptr, nullptr);  // while this goroutine sends, nobody else may
  return stream_->wait_writable(TimePoint(Duration(deadline_after(nanotime(), stall_))));
}

bool Output::fail(const Error& error) noexcept {
  error_ = error;
  drop();
  return false;
}

bool Output::take() noexcept {
  try {
    block_ = static_cast<Block*>(pool_get(PoolId::kBuffer));
  } catch (const std::bad_alloc&) {
    return fail(Error{Code::kNoResources, 0, "http output"});
  }
  block_->begin = block_->committed = block_->end = 0;
  return true;
}

void Output::drop() noexcept {
  if (block_ != nullptr) pool_put(PoolId::kBuffer, block_);
  block_ = nullptr;
}

void Output::note_sent(std::size_t n) noexcept {
  if (meter_ == nullptr) [[likely]]
    return;
  if (meter_->first_at == 0 && n != 0) meter_->first_at = nanotime();
  meter_->bytes += n;
}

// All that was committed is gone: the buffer goes back, or starts anew under a response that is being made.
void Output::settle() noexcept {
  if (block_->begin == block_->end) drop();
}

}  // namespace heddle::http
