// select: waits for the first of several channel operations, as Go's statement does.
//
//     heddle::select(heddle::on_recv(jobs, [](int v, bool ok) { … }),       // any number of these two,
//                    heddle::on_send(out, 7, [] { … }),                     // in any mix
//                    heddle::on_timeout(50ms, [] { … }));                   // at most one; or otherwise([] { … })
//
//     heddle::SelectList list;                                               // as many as there are at run time
//     for (auto& ch : channels) list.add(heddle::on_recv(ch, [](int v, bool ok) { … }));
//     heddle::select(list);
//
// Exactly one case is chosen, its operation done, its function called; the other operations are as if never tried.
//
// I1. If several cases are ready, each is as likely as the others (a random order is drawn for every call). A nil channel
//     is never ready. The same channel may stand in several cases.
// I2. With otherwise(), select never parks: "nothing was ready" is true of all the cases at one moment.
// I3. The functions run on the caller's stack with no lock held and nothing queued: they may park, throw, select again.
// I4. Waiting allocates nothing. The cases are values on the caller's stack, or a list's, with room for what the
//     mechanism needs.
//
// A context's end is a receive from its done channel, so on_done needs nothing new here.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <heddle/core/chan.h>
#include <heddle/core/clock.h>

namespace heddle {
namespace detail {

/// One channel operation, as the mechanism in select.cc sees it.
struct SelectCase {
  ChanCore* chan;  // null: never ready
  void* value;     // to send: the T; to receive: an empty optional<T>
  bool sends;
  std::uint16_t position;               // among select's arguments
  alignas(void*) std::byte waiter[48];  // a Sudog, while select waits
};

/// What select does when no channel is ready.
struct SelectIdle {
  bool otherwise = false;
  bool has_timeout = false;
  Duration timeout{};
  std::uint16_t position = 0;  // of whichever it is, among select's arguments
};

struct Selected {
  std::uint16_t position;
  bool ok = false;  // a receive: true if it brought a value
};

/// The mechanism. `order` has room for 2 * n numbers.
Selected select_go(SelectCase* cases, std::size_t n, std::uint16_t* order, const SelectIdle& idle);

enum class CaseKind : std::uint8_t { kChannel, kTimeout, kOtherwise };

template <class Case>
inline constexpr CaseKind kKindOf = std::remove_cvref_t<Case>::kKind;

template <class T, class Fn>
struct RecvCase {
  static constexpr CaseKind kKind = CaseKind::kChannel;
  ChanCore* chan;
  Fn fn;
  std::optional<T> value;

  void prepare(SelectCase& c) noexcept {
    value.reset();
    c.chan = chan;
    c.value = &value;
    c.sends = false;
  }

  void call(bool ok) {
    if constexpr (std::is_invocable_v<Fn&, T, bool>) {
      static_assert(std::is_default_constructible_v<T>, "a closed channel gives T{}: take a std::optional<T> instead");
      if (ok) {
        fn(*std::move(value), true);
      } else {
        fn(T{}, false);
      }
    } else if constexpr (std::is_invocable_v<Fn&, std::optional<T>>) {
      fn(std::move(value));
    } else {
      static_assert(std::is_invocable_v<Fn&>, "on_recv's function takes (T, bool ok), (std::optional<T>) or nothing");
      fn();
    }
  }
};

template <class T, class Fn>
struct SendCase {
  static constexpr CaseKind kKind = CaseKind::kChannel;
  ChanCore* chan;
  Fn fn;
  T value;

  void prepare(SelectCase& c) noexcept {
    c.chan = chan;
    c.value = &value;
    c.sends = true;
  }
  void call(bool) { fn(); }
};

template <class Fn>
struct TimeoutCase {
  static constexpr CaseKind kKind = CaseKind::kTimeout;
  Duration after;
  Fn fn;
  void call(bool) { fn(); }
};

template <class Fn>
struct OtherwiseCase {
  static constexpr CaseKind kKind = CaseKind::kOtherwise;
  Fn fn;
  void call(bool) { fn(); }
};

}  // namespace detail

/// The case "a value can be received from `ch`, or it is closed". `fn` takes (T value, bool ok), as Go's two-valued
/// receive, where a closed channel gives (T{}, false); or (std::optional<T>); or nothing.
///
/// Lifetime: the handle must outlive the select.
template <class T, class Base, class Fn>
[[nodiscard]] auto on_recv(const detail::Receives<T, Base>& ch, Fn&& fn) {
  return detail::RecvCase<T, std::decay_t<Fn>>{ch.core(), std::forward<Fn>(fn), std::nullopt};
}

/// The case "`value` can be sent on `ch`", or `ch` is closed: then select throws Panic "send on closed channel".
///
/// A move-only value that must survive when another case is chosen: keep the case in a variable, pass that to select,
/// and find the value still in its member `value`.
template <class T, class Base, class Fn>
[[nodiscard]] auto on_send(const detail::Sends<T, Base>& ch, std::type_identity_t<T> value, Fn&& fn) {
  return detail::SendCase<T, std::decay_t<Fn>>{ch.core(), std::forward<Fn>(fn), std::move(value)};
}

/// The case "nothing else within `after`", counted from the call of select. With after <= 0 it acts as otherwise().
template <class Fn>
[[nodiscard]] auto on_timeout(Duration after, Fn&& fn) {
  return detail::TimeoutCase<std::decay_t<Fn>>{after, std::forward<Fn>(fn)};
}

/// The case "nothing else is ready now", Go's default.
template <class Fn>
[[nodiscard]] auto otherwise(Fn&& fn) {
  return detail::OtherwiseCase<std::decay_t<Fn>>{std::forward<Fn>(fn)};
}

/// Waits until one of the cases can go on, does it, and calls its function. Parks unless a case is ready at once; without
/// cases, or with nil channels alone, it parks forever.
///
/// Returns: the index of the chosen case among the arguments.
/// Errors:  Panic "send on closed channel" if that is what was chosen; what the function throws.
/// Threads: a goroutine; where nothing can park (otherwise) also a foreign thread.
template <class... Cases>
std::size_t select(Cases&&... cases) {
  constexpr auto count = []([[maybe_unused]] detail::CaseKind kind) {
    return (std::size_t{0} + ... + (detail::kKindOf<Cases> == kind ? 1 : 0));
  };
  constexpr std::size_t channels = count(detail::CaseKind::kChannel);
  static_assert(count(detail::CaseKind::kTimeout) + count(detail::CaseKind::kOtherwise) <= 1,
                "select takes one on_timeout or one otherwise");
  static_assert(sizeof...(Cases) <= 128, "a case takes some 100 bytes of stack");

  // Left uninitialized but for what prepare() sets.
  std::array<detail::SelectCase, std::max<std::size_t>(channels, 1)> list;
  std::array<std::uint16_t, std::max<std::size_t>(2 * channels, 1)> order;
  detail::SelectIdle idle;
  std::uint16_t position = 0;
  std::size_t n = 0;
  [[maybe_unused]] const auto describe = [&](auto& c) noexcept {
    constexpr detail::CaseKind kind = detail::kKindOf<decltype(c)>;
    if constexpr (kind == detail::CaseKind::kChannel) {
      list[n].position = position;
      c.prepare(list[n++]);
    } else if constexpr (kind == detail::CaseKind::kTimeout) {
      idle = {false, true, c.after, position};
    } else {
      idle = {true, false, {}, position};
    }
    ++position;
  };
  (describe(cases), ...);

  const detail::Selected chosen = detail::select_go(list.data(), n, order.data(), idle);
  position = 0;
  ((position++ == chosen.position ? cases.call(chosen.ok) : void()), ...);
  return chosen.position;
}

namespace detail {

/// A case of a SelectList.
struct ListedCase {
  explicit ListedCase(CaseKind k) noexcept : kind(k) {}
  ListedCase(const ListedCase&) = delete;
  ListedCase& operator=(const ListedCase&) = delete;
  virtual ~ListedCase() = default;
  virtual void prepare(SelectCase& c) noexcept = 0;
  [[nodiscard]] virtual Duration after() const noexcept = 0;
  virtual void call(bool ok) = 0;

  const CaseKind kind;
  bool disabled = false;
};

template <class Case>
struct ListedCaseOf final : ListedCase {
  explicit ListedCaseOf(Case&& c) : ListedCase(Case::kKind), held(std::move(c)) {}
  void prepare(SelectCase& c) noexcept override {
    if constexpr (Case::kKind == CaseKind::kChannel) held.prepare(c);
  }
  [[nodiscard]] Duration after() const noexcept override {
    if constexpr (Case::kKind == CaseKind::kTimeout) return held.after;
    return {};
  }
  void call(bool ok) override { held.call(ok); }

  Case held;
};

}  // namespace detail

/// Cases for a select() whose number is known only when the program runs: Go's reflect.Select.
///
/// It may be selected on again and again: receives and time-outs stand as they are (a time-out counts anew each time); a
/// send whose value has gone sends what moving left of it, unless set() puts another in its place. Adding allocates;
/// selecting does not, once it has been done with as many cases.
///
/// Threads:  one goroutine at a time. A case's function may change the list that it is in, also its own case, which
///           then stays till it returns; it may select on the list, unless it takes its value by reference.
/// Lifetime: of the list, and of every handle and context that a case was made from: longer than each select, and
///           than the run() in which one waits.
/// Source:   pkg.go.dev/reflect#Select.
class SelectList {
 public:
  /// A case's position has 16 bits.
  static constexpr std::size_t kMaxCases = 65535;

  SelectList() noexcept = default;
  SelectList(const SelectList&) = delete;
  SelectList& operator=(const SelectList&) = delete;

  /// Appends a case: on_recv, on_send, on_done; on_timeout or otherwise, of which there may be one in all.
  ///
  /// Returns: its index.
  /// Errors:  dies with a message at a second on_timeout or otherwise, and at more than kMaxCases. std::bad_alloc.
  template <class Case>
  std::size_t add(Case c) {
    return add_case(std::make_unique<detail::ListedCaseOf<Case>>(std::move(c)));
  }

  /// Puts a case in the place of case `i`, and enables it.
  ///
  /// Errors:  as add(); dies with a message if there is no such case.
  template <class Case>
  void set(std::size_t i, Case c) {
    set_case(i, std::make_unique<detail::ListedCaseOf<Case>>(std::move(c)));
  }

  /// Case `i` is not ready any more, as with a nil channel; the others keep their indexes.
  ///
  /// Errors:  dies with a message if there is no such case.
  void disable(std::size_t i) noexcept;

  /// How many cases were added.
  [[nodiscard]] std::size_t size() const noexcept { return cases_.size(); }

 private:
  friend std::size_t select(SelectList& list);

  std::size_t add_case(std::unique_ptr<detail::ListedCase> c);
  void set_case(std::size_t i, std::unique_ptr<detail::ListedCase> c);
  void check_idle(const detail::ListedCase& added, std::size_t but) const noexcept;

  std::vector<std::shared_ptr<detail::ListedCase>> cases_;
  // Room for one select; free again before the chosen function is called.
  std::vector<detail::SelectCase> prepared_;
  std::vector<std::uint16_t> order_;
};

/// select() over the list's cases. Parks forever if there is none that can be ready.
///
/// Returns: the index of the chosen case. Errors, threads: as select() above; std::bad_alloc if the list has grown.
std::size_t select(SelectList& list);

}  // namespace heddle
