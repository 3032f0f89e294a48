// The wheel's mechanics: bitmaps find the next slot with entries, so an idle wheel of any size is not turned.
#include <heddle/net/internal/wheel.h>

#include <algorithm>
#include <bit>

namespace heddle::net {
namespace {

void push(WheelEntry*& head, WheelEntry& entry) noexcept {
  entry.after = head;
  if (head != nullptr) head->link = &entry.after;
  head = &entry;
  entry.link = &head;
}

// How many slots after `from` (circularly, 1…256) the first set bit of a 256-bit map lies; 0 if there is none.
int distance_to_set(const std::uint64_t* map, int from) noexcept {
  for (int step = 1; step <= 256;) {
    const int at = (from + step) & 255;
    const std::uint64_t rest = map[at / 64] >> (at % 64);
    if (rest != 0) {
      const int found = step + std::countr_zero(rest);
      return found <= 256 ? found : 0;
    }
    step += 64 - at % 64;
  }
  return 0;
}

}  // namespace

void Wheel::relook(WheelEntry& entry) noexcept {
  for (;;) {  // again while a setter makes it earlier still: it saw our slot or we see its deadline (I2)
    const std::int64_t when = entry.deadline.load(std::memory_order_seq_cst);
    if (when >= entry.covers.load(std::memory_order_relaxed)) return;  // relaxed: we alone write it
    unlink(entry);
    place(entry, when);
  }
}

void Wheel::unlink(WheelEntry& entry) noexcept {
  if (entry.link == nullptr) return;
  *entry.link = entry.after;
  if (entry.after != nullptr) entry.after->link = entry.link;
  entry.link = nullptr;
  if (entry.slot != kDue && slots_[entry.slot] == nullptr) {
    full_[entry.slot / 64] &= ~(std::uint64_t{1} << (entry.slot % 64));
    if (std::ranges::all_of(full_, [](std::uint64_t word) { return word == 0; })) next_ = kNever;  // keeps I5
  }
  entry.covers.store(kNever, std::memory_order_seq_cst);  // I2
}

int Wheel::advance(std::int64_t now, int budget) noexcept {
  const std::int64_t target = now >> kTickBits;
  while (tick_ < target) {
    const std::int64_t tick = first_tick();
    if (tick > target) {  // I1: only empty slots between
      tick_ = target;
      break;
    }
    tick_ = tick;
    if (tick % kSlots == 0) make_due(static_cast<int>(kSlots + (tick >> kSlotBits) % kSlots));
    make_due(static_cast<int>(tick % kSlots));
  }
  int fired = 0;
  while (due_ != nullptr && budget-- > 0) {
    if (look_at(*due_, now)) ++fired;
  }
  const std::int64_t tick = first_tick();
  next_ = tick == kNever ? kNever : tick << kTickBits;
  return fired;
}

// Fires a due entry or moves it on. True if it fired.
bool Wheel::look_at(WheelEntry& entry, std::int64_t now) noexcept {
  unlink(entry);  // stores covers = kNever: from here on a setter with an earlier deadline asks for a relook
  std::int64_t when = entry.deadline.load(std::memory_order_seq_cst);
  if (when == kNever) return false;
  if (when > now) {
    relook(entry);
    return false;
  }
  // I3. Fails if a setter came between: then the new deadline is the one to look at.
  if (!entry.deadline.compare_exchange_strong(when, kNever, std::memory_order_seq_cst)) {
    relook(entry);
    return false;
  }
  entry.fire(&entry);
  return true;
}

void Wheel::place(WheelEntry& entry, std::int64_t when) noexcept {
  if (when == kNever) return;
  // Rounded up: a tick is done when it has passed (I4). Not before the next tick: the current one is done (I1).
  const std::int64_t rounded = when > kNever - kTick ? kNever >> kTickBits : (when + kTick - 1) >> kTickBits;
  const std::int64_t tick = std::max(rounded, tick_ + 1);
  if (tick - tick_ < kSlots) {
    insert(entry, static_cast<int>(tick % kSlots), tick);
    return;
  }
  const std::int64_t block = std::min(tick >> kSlotBits, (tick_ >> kSlotBits) + kSlots - 1);
  insert(entry, static_cast<int>(kSlots + block % kSlots), block << kSlotBits);
}

// `tick` is when the slot comes up.
void Wheel::insert(WheelEntry& entry, int slot, std::int64_t tick) noexcept {
  push(slots_[static_cast<std::size_t>(slot)], entry);
  full_[static_cast<std::size_t>(slot) / 64] |= std::uint64_t{1} << (slot % 64);
  entry.slot = static_cast<std::uint16_t>(slot);
  next_ = std::min(next_, tick << kTickBits);
  // The next tick is the best there is, so it serves the past too; any other serves what rounds up to it, or later.
  const std::int64_t covers = tick == tick_ + 1 ? 0 : ((tick - 1) << kTickBits) + 1;
  entry.covers.store(covers, std::memory_order_seq_cst);  // I2
}

// Moves a slot's entries to due_.
void Wheel::make_due(int slot) noexcept {
  WheelEntry*& head = slots_[static_cast<std::size_t>(slot)];
  while (head != nullptr) {
    WheelEntry& entry = *head;
    head = entry.after;
    if (head != nullptr) head->link = &head;
    push(due_, entry);
    entry.slot = kDue;
  }
  full_[static_cast<std::size_t>(slot) / 64] &= ~(std::uint64_t{1} << (slot % 64));
}

// The first tick after tick_ that has something to do; kNever if there is none.
std::int64_t Wheel::first_tick() const noexcept {
  std::int64_t first = kNever;
  const int near = distance_to_set(full_.data(), static_cast<int>(tick_ % kSlots));
  if (near != 0) first = tick_ + near;
  const std::int64_t block = tick_ >> kSlotBits;
  const int far = distance_to_set(full_.data() + kSlots / 64, static_cast<int>(block % kSlots));
  if (far != 0) first = std::min(first, (block + far) << kSlotBits);
  return first;
}

}  // namespace heddle::net
