// Leaving a port that several listening sockets share (SO_REUSEPORT) without losing a connection.
//
// The kernel ties a handshake to the listening socket that its SYN fell to. If that socket is closed before accept(2) has
// taken the connection, the client is reset, although other sockets share the port (they inherit it only where
// net.ipv4.tcp_migrate_req is set, which it hardly ever is). So who leaves
//
//     serving --divert--> diverted --a round trip later--> closing --accept what is there--> close(2)
//               |            handshakes that had begun      |         |
//               |            end, and are accepted          |         '-- undo: the kernel chooses by hash again
//               '-- new ones fall to the others             '-- stop_handshakes(): no handshake ends any more
//
// divert() gives the group a classic BPF program that names the socket for each new connection by its index in the group.
// No privilege is needed for it; what is needed is our own index, which nobody tells. So it is found out by asking: for one
// index after the other the program sends a connection of our own, told by its port, there, and all others by hash as
// before; a filter on our socket drops that one SYN, and the socket's count of drops tells that it has come to us. A probe
// that falls to another socket is a connection that ends at once.
//
// I1. Nothing is lost if any of this goes wrong: a program that names the wrong socket, or none, sends connections to some
//     socket of the group (an index without a socket: by hash). That may be ours, which accepts until it closes and drops
//     SYNs for its last moment; a client sends those again after a second.
// I2. The program outlives our socket in the group, and names by an index that changes as sockets leave: it is taken off
//     just before close(2) (undo_divert). A process that is killed between leaves it there: the next to divert replaces it.
// I3. Where asking is not possible (a firewall on the loopback, a group of more than kMostSockets) a filter has our socket
//     drop SYNs alone: handshakes that have begun still end, and a client that knocks comes again a second later.
//
// Two sockets of a group that leave at the same moment overwrite each other's program: I1. Others than heddle's may be in
// the group. A program that the application gave it (SO_ATTACH_REUSEPORT_CBPF) is gone afterwards, and so is a filter of its
// own on our socket.
//
// Source: socket(7), SO_ATTACH_REUSEPORT_CBPF; kernel net/core/sock_reuseport.c: reuseport_select_sock, run_bpf_filter,
// reuseport_detach_sock (the last socket takes the place of the one that left).
#pragma once

namespace heddle::net {

/// True if the listening TCP socket `fd` may share its port (SO_REUSEPORT).
[[nodiscard]] bool shares_port(int fd) noexcept;

/// Sends new connections to the other sockets of the group, if there are any. True: without delay (a program); false: by
/// dropping SYNs (I3). The caller keeps `fd` open meanwhile. Threads: a goroutine; it may sleep some milliseconds.
bool divert(int fd);

/// Takes the group's program off (I2). Threads: any.
void undo_divert(int fd) noexcept;

}  // namespace heddle::net
