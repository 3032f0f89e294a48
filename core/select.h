// select: waits for the first of several channel operations, as Go's statement does.
//
//     heddle::select(heddle::on_recv(jobs, [](int v, bool ok) { … }),       // any number of these two,
//                    heddle::on_send(out, 7, [] { … }),                     // in any mix
//                    heddle::on_timeout(50ms, [] { … }));                   // at most one; or otherwise([] { … })
//
// Exactly one case is chosen, its operation done, its function called; the other operations are as if never tried.
//
// I1. If several cases are ready, each is as likely as the others (a random order is drawn for every call). A nil channel
//     is never ready. The same channel may stand in several cases.
// I2. With otherwise(), select never parks: "nothing was ready" is true of all the cases at one moment.
// I3. The functions run on the caller's stack with no lock held and nothing queued: they may park, throw, select again.
// I4. Waiting allocates nothing. The cases are values on the caller's stack, with room for what the mechanism needs.
//
// A context's end is a receive from its done channel, so on_done needs nothing new here.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

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

}  // namespace heddle
