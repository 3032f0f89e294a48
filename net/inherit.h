// Inherited sockets: what a supervisor opened and passes on by systemd's protocol. The service then needs no right to bind,
// and a restart loses no connection, because the socket lives in the supervisor.
//
//     for (auto& socket : net::inherited_fds()) {
//       if (socket.name == "http") listener = net::Listener::adopt(socket.fd);
//     }
//
// The descriptors begin at number 3, LISTEN_FDS says how many there are, LISTEN_FDNAMES their names with colons between
// them; LISTEN_PID is the process that is meant: a child that inherits the environment has inherited no sockets by it.
// Source: sd_listen_fds(3).
#pragma once

#include <string>
#include <vector>

namespace heddle::net {

struct InheritedFd {
  int fd;
  std::string name;  // "unknown" if none was given, as systemd has it
};

/// The descriptors passed on to this process, each close-on-exec from now on; none if there are none for it. The first call
/// removes the three variables, so that no child takes them for its own; later calls return nothing.
///
/// Whoever calls it owns the descriptors: adopt() them, or close(2) them.
/// Threads: one, before others change the environment: setenv(3) is no friend of threads.
[[nodiscard]] std::vector<InheritedFd> inherited_fds();

namespace detail {
/// The variables' texts (null: not set) into names for descriptors from `first` on.
[[nodiscard]] std::vector<InheritedFd> parse_inherited(const char* pid, const char* count, const char* names, long self,
                                                       int first);
}  // namespace detail

}  // namespace heddle::net
