// Keepsakes: what a goroutine carries besides its stack, its labels (labels.h) and its goroutine-local values
// (goroutine_local.h). Most carry nothing, and pay one load at their start and one at their end.
//
//     creator's keepsakes --new_g, on the creator's stack--> its own --the goroutine--> changed --run_entry--> dropped
//
// I1. Values belong to the goroutine alone: only it reads or writes `values` and `more`, and only while it runs. So
//     they need no lock and no atomics, and stay right when it moves between Ms.
// I2. Copying and destroying values, and freeing a label set, is malloc and users' code. It happens on a goroutine's
//     own stack outside every section; for abandoned goroutines on the thread that called run(), when all others have
//     ended.
// I3. `labels` holds a reference. The goroutine itself, and a signal handler on its thread, read it at will; others
//     take a reference by labels_of(), under the lock that guards taking one away (labels.cc).
// I4. `flags` is 0 exactly if there is nothing to inherit and nothing to drop. One flag stands for no keepsake: kTested, of a
//     goroutine in a test's bubble, leads go() by way of the slow path here to the bubble (bubble.h I4).
#pragma once

#include <atomic>
#include <cstdint>

namespace heddle {

struct G;

namespace detail {
struct LabelSet;
}

inline constexpr std::uint32_t kInlineLocals = 4;

/// Values of the slots from kInlineLocals up.
struct MoreLocals {
  std::uint32_t size = 0;
  void** values = nullptr;
};

struct Keepsakes {
  enum Flag : std::uint32_t { kLabels = 1, kLocals = 2, kHeirlooms = 4, kTested = 8 };  // heirlooms: values that pass to children

  std::uint32_t flags = 0;
  std::atomic<const detail::LabelSet*> labels{nullptr};
  MoreLocals* more = nullptr;
  void* values[kInlineLocals] = {};
};

/// Gives the unstarted `child` what it inherits from `creator`, the goroutine that calls. Throws what copying throws;
/// then the child has nothing.
void inherit_keepsakes(const G& creator, G& child);

/// Destroys all that `g`, which ends, or was abandoned, still carries.
void drop_keepsakes(G& g) noexcept;

// --- labels.cc ---
/// A reference for the caller, to be given to release_labels(); nullptr if `g` has none. Any thread.
[[nodiscard]] const detail::LabelSet* labels_of(const G& g) noexcept;
void release_labels(const detail::LabelSet* labels) noexcept;
/// `{"key": "value"}`, as long as the caller has a reference, or is `g`.
[[nodiscard]] const char* text_of(const detail::LabelSet& labels) noexcept;
void inherit_labels(const G& creator, G& child) noexcept;
void drop_labels(G& g) noexcept;

// --- goroutine_local.cc ---
void inherit_locals(const G& creator, G& child);
void drop_locals(G& g) noexcept;

}  // namespace heddle
