// How Unix sockets are bound and connected.
#pragma once

#include <sys/types.h>

#include <optional>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/net/unix_address.h>

namespace heddle::net {

struct UnixListenOptions {
  int backlog = 4096;           // connections that wait for accept(); the kernel may cap this (somaxconn)
  bool unlink_on_close = true;  // close() takes the socket's file away, if it is still the one that was made
  bool replace_stale = true;    // a socket's file that a process left when it was killed is taken away (unix.h)
  /// Permissions of the file: who may write to it may connect. In force from its first moment on, less the umask;
  /// nullopt: 0777 less the umask. Abstract names have none: look at peer_credentials().
  std::optional<mode_t> mode = {};
};

struct UnixDialOptions {
  TimePoint deadline = kNoDeadline;       // for connecting: a listener whose queue is full makes us wait
  Context ctx = {};                       // ends the attempt, not the connection
  std::optional<UnixAddress> local = {};  // what our end is bound to; its file stays when the connection closes
};

}  // namespace heddle::net
