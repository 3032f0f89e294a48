// Labels: short texts that say what a goroutine works on, for whoever looks at it from outside.
//
//     heddle::with_labels({{"handler", "/plaintext"}, {"tenant", id}}, [&] { serve(conn); });
//
// A goroutine starts with its creator's labels, so those of a request mark all that is done for it. Reports show them
// (`goroutine 7 [IO wait] labels: {"handler": "/plaintext"}:`), and a profiler can tell whose time it samples.
//
// I1. A set of labels never changes: to change a goroutine's means to give it another set. So a set is shared, not
//     copied, by all goroutines that inherit it; it goes with the last of them.
// I2. A goroutine's own set can be read at any moment in a signal handler on its thread, without a lock.
//
// Source: Go's runtime/pprof, Labels, Do, SetGoroutineLabels.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace heddle {

namespace detail {
struct LabelSet;
}

/// One label.
struct Label {
  std::string key;
  std::string value;
};

/// An immutable set of labels, one value per key, in the order of the keys. A handle: copies share the set.
///
/// Threads: any; a set may be used and dropped by many at once.
class Labels {
 public:
  /// The empty set.
  constexpr Labels() noexcept = default;
  /// The pairs given; of several values for a key the last counts. Errors: std::bad_alloc.
  Labels(std::initializer_list<std::pair<std::string_view, std::string_view>> pairs);
  Labels(const Labels& other) noexcept;
  Labels(Labels&& other) noexcept : set_(std::exchange(other.set_, nullptr)) {}
  Labels& operator=(Labels other) noexcept {
    std::swap(set_, other.set_);
    return *this;
  }
  ~Labels();

  /// These and those of `over`; where both have a key, `over` counts. Errors: std::bad_alloc.
  [[nodiscard]] Labels with(const Labels& over) const;

  /// The value for `key`, if there is one. Lifetime: as long as a handle to this set.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view key) const noexcept;

  /// All of them, by key. Lifetime: as long as a handle to this set.
  [[nodiscard]] std::span<const Label> list() const noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return list().size(); }
  [[nodiscard]] bool empty() const noexcept { return set_ == nullptr; }

  /// `{"key": "value", "other": "value"}`, quoted as Go's %q does; `{}` for the empty set. Lifetime: as of find().
  [[nodiscard]] std::string_view text() const noexcept;

  /// Equal if they hold the same labels.
  friend bool operator==(const Labels& a, const Labels& b) noexcept { return a.text() == b.text(); }

 private:
  friend Labels labels();
  friend void set_labels(Labels labels);
  explicit Labels(const detail::LabelSet* adopted) noexcept : set_(adopted) {}

  const detail::LabelSet* set_ = nullptr;
};

/// The current goroutine's labels; none outside any.
[[nodiscard]] Labels labels();

/// Gives the current goroutine `labels` instead of those that it has. It keeps them until it ends; goroutines that it
/// has started already keep theirs.
///
/// Threads: only on a goroutine; elsewhere it dies with a message.
void set_labels(Labels labels);

/// Runs `fn()` with `more` added to the current goroutine's labels, and gives it back the old ones, also if `fn`
/// throws. Goroutines that `fn` starts inherit the labels and keep them.
///
/// Returns: what `fn` returns. Errors: std::bad_alloc, before `fn` is called.
/// Threads: as set_labels().
template <class Fn>
decltype(auto) with_labels(const Labels& more, Fn&& fn) {
  struct Restore {
    Labels old = labels();
    ~Restore() { set_labels(std::move(old)); }
  } restore;
  set_labels(restore.old.with(more));
  return std::forward<Fn>(fn)();
}

}  // namespace heddle
