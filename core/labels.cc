#include <heddle/core/labels.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include <heddle/core/internal/g.h>
#include <heddle/core/lock.h>
#include <heddle/core/park.h>

namespace heddle {
namespace detail {

struct LabelSet {
  std::vector<Label> list;  // by key
  std::string text;
  mutable std::atomic<std::uint32_t> refs{1};
};

}  // namespace detail

namespace {

using detail::LabelSet;

// A reader on another thread takes its reference between reading the pointer and the goroutine's giving its own back;
// so both take the lock of the goroutine. Several, that busy goroutines seldom meet.
struct alignas(64) Shard {
  RawMutex lock{LockRank::kLeaf};
};
constinit Shard shards[16];

RawMutex& lock_of(const G& g) noexcept {
  // Fibonacci hashing, as Sema's table.
  return shards[(reinterpret_cast<std::uintptr_t>(&g) * 0x9E37'79B9'7F4A'7C15ULL) >> 60].lock;
}

const LabelSet* add_ref(const LabelSet* set) noexcept {
  // relaxed: the caller has a reference, or the lock that keeps one alive.
  if (set != nullptr) set->refs.fetch_add(1, std::memory_order_relaxed);
  return set;
}

// Go's %q for what people write in labels; control characters and bytes outside ASCII as they are in UTF-8 text, or
// \xNN.
void add_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += hex;
    } else {
      out += c;
    }
  }
  out += '"';
}

// Of `list`, whose keys may repeat: the last of each counts.
const LabelSet* make_set(std::vector<Label> list) {
  if (list.empty()) return nullptr;
  auto set = std::make_unique<LabelSet>();
  std::ranges::stable_sort(list, {}, &Label::key);
  for (Label& label : list) {
    if (!set->list.empty() && set->list.back().key == label.key) {
      set->list.back() = std::move(label);
    } else {
      set->list.push_back(std::move(label));
    }
  }
  set->text = "{";
  for (const Label& label : set->list) {
    if (set->text.size() > 1) set->text += ", ";
    add_quoted(set->text, label.key);
    set->text += ": ";
    add_quoted(set->text, label.value);
  }
  set->text += '}';
  return set.release();
}

// Gives `g` the reference `set`, and returns the one that it had.
const LabelSet* swap_labels(G& g, const LabelSet* set) noexcept {
  const LockGuard guard(lock_of(g));
  const LabelSet* old = g.keepsakes.labels.load(std::memory_order_relaxed);  // relaxed: ours
  // release: the set's contents, for labels_of() and a handler's look.
  g.keepsakes.labels.store(set, std::memory_order_release);
  return old;
}

}  // namespace

Labels::Labels(std::initializer_list<std::pair<std::string_view, std::string_view>> pairs) {
  std::vector<Label> list;
  list.reserve(pairs.size());
  for (const auto& [key, value] : pairs) list.push_back({std::string(key), std::string(value)});
  set_ = make_set(std::move(list));
}

Labels::Labels(const Labels& other) noexcept : set_(add_ref(other.set_)) {}

Labels::~Labels() { release_labels(set_); }

Labels Labels::with(const Labels& over) const {
  if (over.empty()) return *this;
  if (empty()) return over;
  std::vector<Label> list(set_->list);
  list.insert(list.end(), over.set_->list.begin(), over.set_->list.end());
  return Labels(make_set(std::move(list)));
}

std::optional<std::string_view> Labels::find(std::string_view key) const noexcept {
  for (const Label& label : list()) {
    if (label.key == key) return label.value;
  }
  return std::nullopt;
}

std::span<const Label> Labels::list() const noexcept {
  return set_ == nullptr ? std::span<const Label>() : std::span<const Label>(set_->list);
}

std::string_view Labels::text() const noexcept { return set_ == nullptr ? std::string_view("{}") : set_->text; }

Labels labels() {
  G* g = current_g();
  // relaxed: our own.
  return g == nullptr ? Labels() : Labels(add_ref(g->keepsakes.labels.load(std::memory_order_relaxed)));
}

void set_labels(Labels labels) {
  G* g = must_current_g("set_labels");
  const LabelSet* set = std::exchange(labels.set_, nullptr);
  if (set != nullptr) g->keepsakes.flags |= Keepsakes::kLabels;
  release_labels(swap_labels(*g, set));
}

const LabelSet* labels_of(const G& g) noexcept {
  // relaxed: a look that may be late; with labels the lock decides.
  if (g.keepsakes.labels.load(std::memory_order_relaxed) == nullptr) return nullptr;
  const LockGuard guard(lock_of(g));
  return add_ref(g.keepsakes.labels.load(std::memory_order_acquire));  // acquire: pairs with swap_labels()
}

void release_labels(const LabelSet* set) noexcept {
  // acq_rel: whoever frees it comes after all others' use.
  if (set != nullptr && set->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete set;
}

const char* text_of(const LabelSet& set) noexcept { return set.text.c_str(); }

void inherit_labels(const G& creator, G& child) noexcept {
  const LabelSet* set = add_ref(creator.keepsakes.labels.load(std::memory_order_relaxed));  // relaxed: the caller's own
  if (set == nullptr) return;
  child.keepsakes.flags |= Keepsakes::kLabels;
  child.keepsakes.labels.store(set, std::memory_order_release);  // release: as in swap_labels(); it had none
}

void drop_labels(G& g) noexcept {
  if ((g.keepsakes.flags & Keepsakes::kLabels) != 0) release_labels(swap_labels(g, nullptr));
}

}  // namespace heddle
