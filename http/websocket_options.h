// Options of a WebSocket: limits, time-outs, compression, and what the handshake asks and offers.
//
// Each time-out says which event starts its clock. A duration of zero or less means "no limit".
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/http/fields.h>

namespace heddle::http {

class ClientResponse;
class Request;

namespace ws {

/// permessage-deflate (RFC 7692). Off by default: with context takeover, and full windows, a connection holds some 256 KiB to
/// compress with and 40 KiB to decompress, for as long as it lives; without, while a message is under way.
struct Compression {
  bool enabled = false;
  /// Whether messages are compressed with what the ones before have left: ours, the peer's. A peer may refuse it for us.
  bool own_takeover = true;
  bool peer_takeover = true;
  /// Windows as powers of two, 9 to 15: at most so large. A client that did not offer to be held to less uses 15.
  int own_window_bits = 15;
  int peer_window_bits = 15;
  int level = 6;  ///< zlib's, 1 to 9.
  /// Messages of fewer bytes are sent as they are.
  std::size_t threshold = 256;
};

struct Options {
  // ---- size ----

  std::size_t max_message = std::size_t{1} << 20;  ///< Bytes of a message that comes, decompressed; more: Close 1009.
  std::size_t max_frame = std::size_t{1} << 20;    ///< Bytes of one frame, as its head says; more: Close 1009.
  std::size_t max_fragments = 4096;                ///< Frames of one message; more: Close 1009.
  /// Bytes of a frame that is sent. A longer message goes as several, so that pings and a Close get in between.
  std::size_t write_frame = std::size_t{64} << 10;

  // ---- time ----

  /// Pings a silent peer. Starts when a read() begins to wait, anew with all that comes; stands still while nobody reads.
  Duration ping_interval = std::chrono::seconds(30);
  /// For a peer that is silent although it is pinged: then the connection fails (kTimeout, "idle"). Starts as ping_interval.
  Duration idle_timeout = std::chrono::seconds(90);
  /// For a peer that does not read: then the connection fails (kTimeout, "write"). Starts with each frame.
  Duration write_timeout = std::chrono::seconds(30);
  /// For the peer's Close after ours, and for the end of its stream after both. Starts with our Close.
  Duration close_timeout = std::chrono::seconds(5);

  // ---- hooks ----

  /// Called with a Pong's payload by who reads, on its goroutine; it must neither read nor close(), which reads, too, and would
  /// wait for itself. Empty: nobody is.
  std::function<void(std::string_view payload)> on_pong;

  Compression compression;

  // ---- the handshake ----

  /// Subprotocols, by preference. A server takes the first one that the client offered; a client offers them.
  std::vector<std::string> subprotocols;

  /// A server's question whether a page of that origin may connect; `origin` is the Origin field, or empty if there is none.
  /// Empty: same_origin(). For a false the answer is 403. What browsers send cookies along with must be asked here: they
  /// connect from any page (RFC 6455 s10.2).
  std::function<bool(const Request& request, std::string_view origin)> check_origin;

  /// A client's further fields: Origin, Cookie, Authorization …
  Fields headers;

  /// Shown an answer that is no 101: its status, its fields, its body. Empty: nobody is.
  std::function<void(ClientResponse& response)> on_refusal;
};

/// True if there is no Origin (no browser), or its authority is the request's host.
[[nodiscard]] bool same_origin(const Request& request, std::string_view origin);

}  // namespace ws
}  // namespace heddle::http
