// AcceptDesc: a listening socket that makes streams. Accepts on its home, deals connections out to all homes.
//
//     accepting --out of descriptors or memory--> resting (50 ms, by the wheel) --> accepting
//         '-- close(): accept called off, the kernel's queue emptied, close(2) --> finished: close() returns
//
// I1. A connection that was dealt and not adopted yet holds the listener; so close(), which waits for the finish, returns
//     when no on_accept is running or to come.
// I2. Out of descriptors (EMFILE, ENFILE) or memory (ENOBUFS, ENOMEM) is no reason to drop the listener, nor to spin: the
//     kernel keeps the queue and we rest. What failed about one connection (ECONNABORTED …) concerns that one only.
// I3. Connections that the kernel had completed when close() was called are still accepted and served: their clients may
//     have sent a request. Closing begins with what lets no further one in, so that none comes between the last accept and
//     close(2), which would reset it: for TCP a filter that lets no handshake complete (stop_handshakes), for Unix sockets
//     the end of receiving, with which the kernel refuses who connects.
// I4. A socket that was passed on to us (`shared`) may go on listening in another process when we close it: nothing of I3 is
//     done to it, and who waits in it after our last accept waits for that process.
//
// Dealing: the home with the fewest streams, the first in turn among equals. The counts are hints, updated at the deal.
#pragma once

#include <heddle/net/internal/poll_desc.h>
#include <heddle/net/internal/wheel.h>

namespace heddle::net {

class StreamAcceptor;

/// What an errno of accept(2) asks for.
enum class AcceptVerdict : std::uint8_t { kGoOn, kDrained, kRest };
[[nodiscard]] AcceptVerdict accept_verdict(int error) noexcept;

struct AcceptDesc final : PollDesc, WheelEntry {
  AcceptDesc() noexcept;

  /// Makes a fresh slot the listener of `new_fd`, homed at `owner`.
  std::uint32_t open_acceptor(int new_fd, StreamAcceptor& stream_acceptor, NetPoller& owner, bool is_shared,
                              bool is_of_unix) noexcept;

  /// Has the kernel let no further connection in: I3, I4. Threads: any that is inside.
  void let_no_more_in() noexcept;

  // --- the home, on the scheduler's side ---

  /// Accepts what is there, at most `most` connections. False if the budget ended it: there may be more.
  bool accept_some(int most) noexcept;

  /// A connection the kernel gave us: makes a stream of it, at some home.
  void deal(int new_fd) noexcept;

  /// Accepting failed for want of resources: rest for a while.
  void rest() noexcept;

  StreamAcceptor* acceptor = nullptr;  // constant while open
  bool shared = false;                 // constant while open: I4
  bool of_unix = false;                // constant while open: the family
  bool resting = false;                // the home's
  bool readable = false;               // the home's: an edge has come and the queue is not known to be empty (epoll)
  int turn = 0;                        // the home's: where dealing starts to look
};

[[nodiscard]] Slab<AcceptDesc>& acceptor_slab() noexcept;

}  // namespace heddle::net
