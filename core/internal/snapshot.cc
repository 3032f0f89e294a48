#include <heddle/core/internal/snapshot.h>

#include <sys/mman.h>

#include <algorithm>

#include <heddle/core/clock.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/stack.h>
#include <heddle/core/internal/world.h>
#include <heddle/core/stop_the_world.h>

namespace heddle {
namespace {

constexpr std::int64_t kMostPause = 2'000'000;   // ns from the stop until no more stacks are copied
constexpr std::int64_t kMostWait = 50'000'000;   // ns for the world to stop
constexpr std::size_t kMostBytes = std::size_t{64} << 20;
constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: see g.h I3; while the world stands they are exact

bool lives(GStatus s) noexcept { return s != GStatus::kIdle && s != GStatus::kDead; }

void* map_touched(std::size_t size) noexcept {
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return at == MAP_FAILED ? nullptr : at;
}

// What a snapshot will need, about.
struct Need {
  std::size_t gs = 0;
  std::size_t bytes = 0;
};

void count(void* arg, G* g) {
  if (!lives(g->status.load(kRelaxed))) return;
  auto& need = *static_cast<Need*>(arg);
  ++need.gs;
  std::uintptr_t sp = 0;
  std::uintptr_t lo = 0;
  if (parked_extent(*g, sp, lo)) need.bytes += reinterpret_cast<std::uintptr_t>(g->stack_hi) - lo;
}

// The interrupted context of a goroutine that is stopped in the signal handler; null: it is not.
const ucontext_t* context_of(const G& g, GStatus status) noexcept {
  for (int i = 0; i < sched.nms.load(std::memory_order_acquire); ++i) {
    const M* m = sched.all_ms[i].load(std::memory_order_acquire);  // acquire: pairs with enter_m()
    if (m == nullptr || m->curg_seen.load(kRelaxed) != &g) continue;
    const auto& stopped = status == GStatus::kPreempted ? m->preempted_seen : m->stands_seen;
    // acquire: preempted_at; pairs with preempt_here().
    return stopped.load(std::memory_order_acquire) ? static_cast<const ucontext_t*>(m->preempted_at) : nullptr;
  }
  return nullptr;
}

}  // namespace

Snapshot::~Snapshot() {
  if (gs_ != nullptr) ::munmap(gs_, room_ * sizeof(StillG));
  if (bytes_ != nullptr) ::munmap(bytes_, size_);
}

bool Snapshot::map(bool stacks) {
  Need need;
  stack_arena().for_each(count, &need);
  room_ = need.gs + need.gs / 8 + 256;  // some more may come meanwhile
  gs_ = static_cast<StillG*>(map_touched(room_ * sizeof(StillG)));
  if (gs_ == nullptr) return false;
  if (!stacks) return true;
  size_ = std::min(need.bytes + need.bytes / 4 + (std::size_t{1} << 20), kMostBytes);
  bytes_ = static_cast<std::byte*>(map_touched(size_));
  if (bytes_ == nullptr) size_ = 0;
  return true;
}

bool Snapshot::take(bool stacks) {
  if (!map(stacks) || !stop_the_world_within(kMostWait)) return false;
  until_ = nanotime() + kMostPause;
  stack_arena().for_each([](void* self, G* g) { static_cast<Snapshot*>(self)->add(g); }, this);
  static_cast<void>(start_the_world());
  return true;
}

void Snapshot::add(G* g) noexcept {
  const GStatus status = g->status.load(std::memory_order_acquire);  // acquire: its sp is as old at least
  if (!lives(status) || count_ == room_) return;
  StillG& still = gs_[count_++];
  still.g = g;
  still.id = g->id.load(kRelaxed);
  still.status = status;
  still.reason = g->wait_reason.load(kRelaxed);
  still.line = g->site_line.load(kRelaxed);
  still.name = g->name.load(kRelaxed);
  still.creator = g->creator.load(kRelaxed);
  still.file = g->site_file.load(kRelaxed);
  still.function = g->site_function.load(kRelaxed);
  still.size = 0;
  if (used_ < size_ && (count_ % 16 != 0 || nanotime() < until_)) {
    copy(still);
  } else {
    size_ = used_;  // keeps I2
  }
}

void Snapshot::copy(StillG& still) noexcept {
  std::uintptr_t lo = 0;
  still.parked = still.status == GStatus::kWaiting || still.status == GStatus::kRunnable;
  if (still.parked) {
    if (!parked_extent(*still.g, still.sp, lo)) return;
    copy_range(still, lo);
    // One without a P may have begun to run: in a blocking call. acquire: after the copy.
    std::atomic_thread_fence(std::memory_order_acquire);
    if (still.g->status.load(kRelaxed) != still.status || still.g->id.load(kRelaxed) != still.id) still.size = 0;
    return;
  }
  const ucontext_t* context = context_of(*still.g, still.status);
  if (context == nullptr) return;  // it has no P, and runs
  read_registers(*context, still.registers);
  const std::uintptr_t sp = still.registers.sp();
  const auto from = reinterpret_cast<std::uintptr_t>(still.g->stack_lo);
  if (sp >= from && sp < reinterpret_cast<std::uintptr_t>(still.g->stack_hi)) {
    copy_range(still, StackImage::low_end(sp, *still.g));
  }
}

void Snapshot::copy_range(StillG& still, std::uintptr_t lo) noexcept {
  const std::size_t n = reinterpret_cast<std::uintptr_t>(still.g->stack_hi) - lo;
  if (n > size_ - used_) return;
  copy_stack(bytes_ + used_, reinterpret_cast<const std::byte*>(lo), n);
  still.lo = lo;
  still.bytes = bytes_ + used_;
  still.size = n;
  used_ += n;
}

bool Snapshot::image_of(const StillG& still, StackImage& out) {
  if (still.size == 0) return false;
  out.lo = still.lo;
  out.bytes.assign(still.bytes, still.bytes + still.size);
  out.exact_pc = !still.parked;
  if (still.parked) return load_parked(out, still.sp);
  out.registers = still.registers;
  return true;
}

}  // namespace heddle
