// quietly: a system call that may raise SIGPIPE, without the signal.
//
// A write to a pipe without readers, a splice(2) or sendfile(2) to a socket whose peer is gone raise it in the thread that
// makes them, and there is no MSG_NOSIGNAL for these. So the signal is blocked meanwhile, and what came is taken. Who had
// blocked it before may have one pending, and keeps it.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include <cerrno>
#include <cstddef>

namespace heddle::net {

/// Makes `call()`, which moves at most `size` bytes and returns how many, or -errno. What has moved some before it found
/// the peer gone raises the signal and returns their number all the same; only who moved all cannot have raised it.
/// noinline, as all that looks at errno: its address is a thread's.
template <class Call>
[[gnu::noinline]] ssize_t quietly(std::size_t size, Call call) noexcept {
  sigset_t pipe_signal;
  sigset_t before;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const ssize_t result = call();
  if (sigismember(&before, SIGPIPE) == 0) {
    if (result != static_cast<ssize_t>(size)) {
      const timespec at_once{};
      while (sigtimedwait(&pipe_signal, nullptr, &at_once) < 0 && errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  return result;
}

}  // namespace heddle::net
