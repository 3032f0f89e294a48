// Errors that a peer, the kernel or the user can cause are values of this type.
//
// An Error is three words: what went wrong in our terms (code), what the kernel said (sys, an errno, or 0), and the
// operation that failed (a string literal such as "accept"). It is small, copyable, and allocates nothing unless somebody
// asks for its text. Result<T> is std::expected, so `if (!r) return std::unexpected(r.error());` reads the same everywhere.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

namespace heddle {

enum class Code : std::uint8_t {
  kOk,             // no error; an Error that stands for "nothing happened"
  kEof,            // the peer ended its stream in good order
  kWouldBlock,     // a try_x call found nothing to do now
  kTimeout,        // a deadline passed first
  kClosed,         // this side closed the object, before or during the call
  kCanceled,       // the operation was called off
  kInvalid,        // the caller's argument cannot be used
  kRefused,        // nobody listens there (ECONNREFUSED)
  kReset,          // the peer tore the connection down (ECONNRESET, EPIPE)
  kUnreachable,    // no route, host or network down
  kAddressInUse,   // EADDRINUSE
  kNoResources,    // out of descriptors, buffers or memory
  kLimit,          // a configured limit was reached
  kProtocol,       // the peer broke the protocol
  kUnsupported,    // this kernel or build cannot do it
  kNotFound,       // there is no such file or name (ENOENT)
  kExists,         // there is one already (EEXIST)
  kDenied,         // permission was refused (EACCES, EPERM)
  kSystem,         // any other errno; see sys
};

/// One failed operation. `op` is a string literal.
struct [[nodiscard]] Error {
  Code code = Code::kOk;
  int sys = 0;
  const char* op = "";

  /// The Error for errno value `err` of operation `op`; codes by name where we know the errno, kSystem otherwise.
  static Error from_errno(int err, const char* op) noexcept;

  /// "accept: too many open files (EMFILE 24)": the operation, then what happened.
  [[nodiscard]] std::string message() const;

  friend bool operator==(const Error&, const Error&) = default;
};

/// The code's name as prose: "timeout", "connection refused".
[[nodiscard]] const char* to_string(Code code) noexcept;

template <class T>
using Result = std::expected<T, Error>;

}  // namespace heddle
