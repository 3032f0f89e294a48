// ServerOptions: every limit and time-out of the HTTP server, all on by default.
//
// Each line says which event starts its clock and which abuse it bounds. A duration of zero or less means "no limit",
// which is for tests and for servers behind something that has the limit.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>

#include <heddle/core/context.h>

namespace heddle::http {

class Request;
struct RequestRecord;

struct ServerOptions {
  // ---- time ----

  /// For one whole head, empty lines before it included. Starts when the connection is accepted, later with the first
  /// byte of each head. Bounds the slow loris; answered 408 if any byte came.
  std::chrono::nanoseconds header_timeout = std::chrono::seconds(10);

  /// For silence between two requests. Starts when a response is sent and nothing of the next request is there. Bounds
  /// what abandoned connections cost.
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(75);

  /// For silence inside a body. Starts when a handler waits for body bytes, and anew with every byte; time in which the
  /// handler does something else does not count. Bounds a stalled upload; answered 408 if nothing was sent yet.
  std::chrono::nanoseconds body_timeout = std::chrono::seconds(30);

  /// Bytes per second that a body must make on top of one body_timeout, counting only time in which the handler waited.
  /// Bounds an upload that drips just often enough. 0: no least rate.
  std::uint64_t min_body_rate = 256;

  /// For a peer that takes nothing of what is sent. Starts when the socket is full, and anew with every byte taken.
  /// Bounds a reader that stopped; the connection is dropped.
  std::chrono::nanoseconds write_timeout = std::chrono::seconds(30);

  /// For the peer's end of stream after ours was sent: how long input is read and thrown away, so that the last
  /// response is not lost to a reset (RFC 9112 s9.6). Starts with our end of stream, and anew with input, ten times at
  /// most.
  std::chrono::nanoseconds linger_timeout = std::chrono::seconds(2);

  // ---- size ----

  std::size_t max_target = 8 * 1024;       ///< Bytes of a request target; more is answered 414.
  std::size_t max_head_bytes = 32 * 1024;  ///< Bytes of a head, from the request line to the empty line; more: 431.
  std::size_t max_headers = 100;           ///< Fields of a head; more: 431.
  std::uint64_t max_body = 64 << 20;       ///< Bytes of a body, as announced (413 at once) or as read (kLimit).
  std::size_t max_framing = 16 * 1024;     ///< Bytes of a chunked body's extensions and trailers together; more: 400.

  /// Bytes of a body that the handler left unread and that are read away to keep the connection; more closes it.
  std::size_t max_drain = 256 * 1024;

  std::size_t max_connections = 65'536;  ///< Open at once; more are closed as they are accepted.

  /// Of them, from one IPv4 address or one IPv6 /64, which is what one customer has; more are closed as they are accepted,
  /// and ServerStats counts them. A quarter of all: no one address can keep everybody else out. 0: no limit; for a server
  /// behind a proxy, whose address every connection has. Those of Unix sockets and other streams without an IP address
  /// are never limited.
  std::size_t max_connections_per_ip = 16'384;
  /// Hold this machine's own addresses (127.0.0.0/8, ::1) to it, too.
  bool limit_loopback = false;

  // ---- hooks ----

  /// What every request's context is a child of: its values, its deadline, its end.
  Context base_context = {};

  /// What a handler threw, on its goroutine; the response is dealt with already (500, or a visible cut). It must not
  /// throw. Default: nothing but Server::stats().handler_errors counts it.
  std::function<void(const Request&, std::exception_ptr)> on_handler_error = {};

  /// Told of every request when it has been answered: for logs and metrics. See request_record.h for its when and where.
  std::function<void(const RequestRecord&)> on_request_done = {};
};

}  // namespace heddle::http
