#include <heddle/core/internal/keepsakes.h>

#include <heddle/core/internal/bubble.h>
#include <heddle/core/internal/g.h>

namespace heddle {

void inherit_keepsakes(const G& creator, G& child) {
  const std::uint32_t flags = creator.keepsakes.flags;
  if ((flags & Keepsakes::kHeirlooms) != 0) inherit_locals(creator, child);
  if ((flags & Keepsakes::kLabels) != 0) inherit_labels(creator, child);
  if ((flags & Keepsakes::kTested) != 0) sched.bubble->point_soon();
}

void drop_keepsakes(G& g) noexcept {
  // Values first: what their destructors do still counts for the labels.
  drop_locals(g);
  drop_labels(g);
  g.keepsakes.flags = 0;
}

}  // namespace heddle
