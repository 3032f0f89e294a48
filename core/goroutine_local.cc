#include <heddle/core/goroutine_local.h>

#include <algorithm>
#include <memory>

#include <heddle/core/check.h>
#include <heddle/core/internal/g.h>
#include <heddle/core/park.h>

namespace heddle {
namespace {

constexpr std::uint32_t kMostLocals = 256;
constexpr int kRounds = 4;  // of destructors that set values; as pthread_key_create(3)'s PTHREAD_DESTRUCTOR_ITERATIONS

constinit std::atomic<std::uint32_t> locals_made{0};
constinit std::atomic<const detail::LocalOps*> ops_table[kMostLocals + 1] = {};

// relaxed: who has a slot's number got it through GoroutineLocal::slot_, which publishes the entry; at the end of run()
// all threads have joined.
const detail::LocalOps& ops_of(std::uint32_t slot) noexcept { return *ops_table[slot].load(std::memory_order_relaxed); }

// Where the value of `slot` stands in `k`; nullptr if that has no room for it. Slots count from 1, places from 0.
void** place_of(Keepsakes& k, std::uint32_t slot) noexcept {
  const std::uint32_t i = slot - 1;
  if (i < kInlineLocals) return &k.values[i];
  if (k.more == nullptr || i - kInlineLocals >= k.more->size) return nullptr;
  return &k.more->values[i - kInlineLocals];
}

// The same with room for it. The array is replaced whole, so a goroutine abandoned in here leaves one that is right.
void** make_place(Keepsakes& k, std::uint32_t slot) {
  if (void** place = place_of(k, slot); place != nullptr) return place;
  // As many as the program has by now: it will hardly have to grow again.
  const std::uint32_t size = std::max(slot, locals_made.load(std::memory_order_relaxed)) - kInlineLocals;
  auto values = std::make_unique<void*[]>(size);  // zeroed
  auto more = std::make_unique<MoreLocals>(MoreLocals{size, values.get()});
  MoreLocals* old = k.more;
  if (old != nullptr) std::copy_n(old->values, old->size, values.get());
  static_cast<void>(values.release());
  k.more = more.release();
  if (old != nullptr) {
    delete[] old->values;
    delete old;
  }
  return place_of(k, slot);
}

void put(Keepsakes& k, std::uint32_t slot, void* value) {
  void** place = make_place(k, slot);
  void* old = *place;
  *place = value;
  k.flags |= Keepsakes::kLocals;
  if (ops_of(slot).copy != nullptr) k.flags |= Keepsakes::kHeirlooms;
  if (old != nullptr) ops_of(slot).destroy(old);
}

std::uint32_t slots(const Keepsakes& k) noexcept { return kInlineLocals + (k.more == nullptr ? 0 : k.more->size); }

bool destroy_all(Keepsakes& k) noexcept {
  bool any = false;
  for (std::uint32_t slot = slots(k); slot > 0; --slot) {
    void** place = place_of(k, slot);
    if (place == nullptr || *place == nullptr) continue;
    void* value = *place;
    *place = nullptr;  // before: its destructor finds none
    ops_of(slot).destroy(value);
    any = true;
  }
  return any;
}

}  // namespace

namespace detail {

std::uint32_t new_local(const LocalOps& ops) {
  // relaxed: only uniqueness matters.
  const std::uint32_t slot = locals_made.fetch_add(1, std::memory_order_relaxed) + 1;
  if (slot > kMostLocals) fatal("more than %u GoroutineLocal variables", kMostLocals);
  ops_table[slot].store(&ops, std::memory_order_relaxed);  // relaxed: published with the slot's number
  return slot;
}

void* get_local(std::uint32_t slot) noexcept {
  if (slot == 0) return nullptr;
  G* g = current_g();
  if (g == nullptr) return nullptr;
  void** place = place_of(g->keepsakes, slot);
  return place == nullptr ? nullptr : *place;
}

void set_local(std::uint32_t slot, void* value) { put(must_current_g("GoroutineLocal::set")->keepsakes, slot, value); }

}  // namespace detail

void inherit_locals(const G& creator, G& child) {
  auto& from = const_cast<Keepsakes&>(creator.keepsakes);
  try {
    for (std::uint32_t slot = 1; slot <= slots(from); ++slot) {
      void** place = place_of(from, slot);
      if (place == nullptr || *place == nullptr) continue;
      const detail::LocalOps& ops = ops_of(slot);
      if (ops.copy == nullptr) continue;
      void** to = make_place(child.keepsakes, slot);
      *to = ops.copy(*place);
      child.keepsakes.flags |= Keepsakes::kLocals | Keepsakes::kHeirlooms;
    }
  } catch (...) {
    drop_keepsakes(child);
    throw;
  }
}

void drop_locals(G& g) noexcept {
  Keepsakes& k = g.keepsakes;
  int round = 0;
  while (destroy_all(k)) {
    if (++round > kRounds) fatal("the destructors of goroutine-local values go on setting others");
  }
  if (k.more == nullptr) return;
  delete[] k.more->values;
  delete k.more;
  k.more = nullptr;
}

}  // namespace heddle
