// Setting a ring up, and the calls into the kernel with what they may answer.
#include <heddle/net/internal/uring_ring.h>

#include <time.h>

#include <cerrno>
#include <initializer_list>

#include <heddle/core/check.h>
#include <heddle/net/internal/sys.h>

namespace heddle::net {
namespace {

io_uring_params params_for(unsigned completions) noexcept {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
  params.cq_entries = completions;
  return params;
}

}  // namespace

const char* why_no_io_uring() noexcept {
  io_uring ring{};
  io_uring_params params = params_for(8);
  const int status = sys().ring_init(4, &ring, &params);
  switch (-status) {
    case 0:
      break;
    case EPERM:
      return "io_uring_setup: EPERM (forbidden by a seccomp filter or kernel.io_uring_disabled)";
    case ENOSYS:
      return "io_uring_setup: ENOSYS (no io_uring in this kernel, or a seccomp filter)";
    case EINVAL:
      return "io_uring_setup: EINVAL (Linux before 6.1)";
    default:
      return nullptr;  // ENOMEM, EMFILE …: a shortage, not a missing feature. The workers meet it one by one: factory.cc
  }
  const char* why = nullptr;
  constexpr unsigned kFeatures = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;
  if ((params.features & kFeatures) != kFeatures) why = "io_uring lacks EXT_ARG or NODROP";
  if (io_uring_probe* probe = io_uring_get_probe_ring(&ring); probe != nullptr) {
    for (const int op : {IORING_OP_POLL_ADD, IORING_OP_RECV, IORING_OP_ACCEPT, IORING_OP_ASYNC_CANCEL}) {
      if (io_uring_opcode_supported(probe, op) == 0) why = "io_uring lacks an operation (restricted by policy?)";
    }
    io_uring_free_probe(probe);
  } else {
    why = "io_uring cannot be probed";
  }
  int buffers_status = 0;
  io_uring_buf_ring* buffers = sys().ring_buffers(&ring, 2, 0, &buffers_status);
  if (buffers != nullptr) {
    io_uring_free_buf_ring(&ring, buffers, 2, 0);
  } else if (buffers_status == -EINVAL) {
    why = "io_uring lacks provided-buffer rings";
  }
  io_uring_queue_exit(&ring);
  return why;
}

int Ring::set_up(unsigned entries, unsigned completions, io_uring& ring) noexcept {
  io_uring_params params = params_for(completions);
  return -sys().ring_init(entries, &ring, &params);
}

Ring::Ring(const io_uring& ring) noexcept : ring_(ring), thread_(::pthread_self()) {
  // Spares a look-up of the descriptor at each enter. A convenience: without it (ENOMEM) all still works.
  static_cast<void>(io_uring_register_ring_fd(&ring_));
}

Ring::~Ring() { io_uring_queue_exit(&ring_); }

io_uring_sqe* Ring::sqe() noexcept {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr && on_own_thread()) {  // else: a goroutine that was lent the P; the ring's own submits
    check(sys().ring_submit(&ring_), "submit");
    sqe = io_uring_get_sqe(&ring_);
  }
  note_queued();
  return sqe;
}

bool Ring::enter_would_pay() const noexcept {
  if (io_uring_sq_ready(&ring_) != 0) return true;
  // relaxed: the kernel sets these flags before it wakes us, and a look that comes too early is repeated.
  return (__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

bool Ring::overflows() const noexcept {
  // acquire: set after the last completion that did fit.
  return (__atomic_load_n(ring_.sq.kflags, __ATOMIC_ACQUIRE) & IORING_SQ_CQ_OVERFLOW) != 0;
}

bool Ring::looks_ready() const noexcept {
  // What is armed and not handed over, nobody would hear of while the owner computes. relaxed, here and below: a hint,
  // for those who look again.
  if (queued_.load(std::memory_order_relaxed)) return true;
  if (__atomic_load_n(ring_.cq.ktail, __ATOMIC_RELAXED) != __atomic_load_n(ring_.cq.khead, __ATOMIC_RELAXED)) return true;
  return (__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

void Ring::enter() noexcept {
  check(sys().ring_enter(&ring_), "enter");
  note_queued();
}

void Ring::wait(std::int64_t timeout) noexcept {
  const timespec limit{timeout / 1'000'000'000, timeout % 1'000'000'000};
  check(sys().ring_wait(&ring_, timeout < 0 ? nullptr : &limit), "wait");
  note_queued();
}

// What a call into the ring may answer. Nothing here is lost: requests not taken stay in the queue for the next call.
void Ring::check(int status, const char* call) noexcept {
  switch (-status) {
    case ETIME:   // the wait's time has come
    case EINTR:   // a signal
    case EAGAIN:  // no memory for a request now
    case EBUSY:   // completions overflow: drain first
      return;
    case EBADR:
      fatal("io_uring %s: EBADR, the kernel dropped a completion (out of memory)", call);
    default:
      if (status < 0) fatal("io_uring %s failed with errno %d", call, -status);
  }
}

}  // namespace heddle::net
