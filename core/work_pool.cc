#include <heddle/core/work_pool.h>

#include <algorithm>

#include <heddle/core/check.h>
#include <heddle/core/lock.h>
#include <heddle/core/park.h>
#include <heddle/core/run.h>
#include <heddle/core/task.h>
#include <heddle/core/wait_list.h>

namespace heddle {
namespace detail {
namespace {

// A worker without work; a local of it.
struct IdleWorker {
  G* g = nullptr;
  IdleWorker* next = nullptr;
  PoolJob* job = nullptr;  // what it was given; null: nothing, and nothing will come
};

// A submitter that waits for room; a local of it.
struct Submitter : Waiter {
  explicit Submitter(PoolJob* j) noexcept : Waiter("work pool submit"), job(j) {}
  PoolJob* job;  // null when it was accepted
};

// First in, first out, through `next`.
template <class Item>
class Line {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  void push(Item* item) noexcept {
    item->next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = item;
    last_ = item;
  }
  [[nodiscard]] Item* pop() noexcept {
    Item* item = first_;
    if (item != nullptr) first_ = item->next;
    return item;
  }
  /// All of them, chained; the line is empty then.
  [[nodiscard]] Item* take_all() noexcept { return std::exchange(first_, nullptr); }

 private:
  Item* first_ = nullptr;
  Item* last_ = nullptr;
};

}  // namespace

struct PoolCore {
  // Constant.
  std::size_t capacity = 0;
  GoOptions worker;
  std::source_location site;
  std::function<void(std::exception_ptr)> on_error;

  mutable RawMutex lock{LockRank::kSync};
  // Guarded by lock.
  bool closed = false;
  std::size_t queued = 0;
  std::size_t unfinished = 0;  // jobs accepted, less those done
  int workers = 0;
  Line<PoolJob> jobs;
  Line<IdleWorker> idle;
  WaitList submitters;  // of Submitter
  WaitList drainers;    // until unfinished is 0
  WaitList enders;      // until workers is 0

  // With the lock held.
  [[nodiscard]] PoolJob* accept_locked(WakeList& woken) noexcept;
  static void take_all(WaitList& line, WakeList& woken) noexcept {
    while (Waiter* w = line.front()) static_cast<void>(line.take(*w, woken));
  }
  // Until `count`, whose end `line` is woken at, is 0.
  template <class Count>
  [[nodiscard]] Result<void> wait_until_zero(const Count& count, WaitList& line, const Context& ctx) noexcept {
    bool ended = !ctx.err();
    if (ended) {
      lock.lock();
      if (count == 0) {
        lock.unlock();
        return {};
      }
      Waiter self("work pool wait");
      line.push_back(self);
      lock.unlock();
      ended = line.wait(lock, self, WaitReason::kWorkPoolWait, kNever, ctx.can_be_done() ? &ctx : nullptr);
    }
    if (!ended) return std::unexpected(done_error(ctx, to_string(WaitReason::kWorkPoolWait)));
    return {};
  }

  ~PoolCore() {
    while (PoolJob* job = jobs.pop()) delete job;  // none, unless workers were abandoned or could not be started
  }

  [[nodiscard]] PoolJob* next_job();
  void job_done() noexcept;
  void worker_ended() noexcept;
};

// The job of the submitter that has waited longest, which is counted as accepted; null if none waits.
PoolJob* PoolCore::accept_locked(WakeList& woken) noexcept {
  while (Waiter* w = submitters.front()) {
    auto& submitter = *static_cast<Submitter*>(w);
    PoolJob* job = std::exchange(submitter.job, nullptr);  // once taken, it may be gone
    if (submitters.take(submitter, woken)) {
      ++unfinished;
      return job;
    }
    submitter.job = job;  // it gave up, and will have the lock before it goes
  }
  return nullptr;
}

// nullptr: closed, and nothing is left.
PoolJob* PoolCore::next_job() {
  WakeList woken;
  lock.lock();
  PoolJob* job = jobs.pop();
  if (job != nullptr) {
    --queued;
    if (PoolJob* next = accept_locked(woken); next != nullptr) {  // keeps I1: there is room now
      jobs.push(next);
      ++queued;
    }
  } else {
    job = accept_locked(woken);  // of a queue of no length
  }
  if (job != nullptr || closed) {
    lock.unlock();
    woken.wake();
    return job;
  }
  IdleWorker self{current_g()};
  idle.push(&self);
  park_unlock(lock, WaitReason::kWorkPoolIdle);
  return self.job;
}

void PoolCore::job_done() noexcept {
  WakeList through;
  lock.lock();
  if (--unfinished == 0) take_all(drainers, through);
  lock.unlock();
  through.wake();
}

void PoolCore::worker_ended() noexcept {
  WakeList through;
  lock.lock();
  if (--workers == 0) take_all(enders, through);
  lock.unlock();
  through.wake();
}

namespace {

void start_worker(std::shared_ptr<PoolCore> core);

// One worker's life; by goexit in a job it ends early, and another one takes its place.
struct Worker {
  std::shared_ptr<PoolCore> core;

  struct Turn {
    Worker& worker;
    std::unique_ptr<PoolJob> job;
    bool finished = false;
    ~Turn() {
      if (finished) return;
      job.reset();
      worker.core->job_done();
      start_worker(worker.core);
      worker.core.reset();
    }
  };

  void operator()() {
    while (PoolJob* job = core->next_job()) {
      Turn turn{*this, std::unique_ptr<PoolJob>(job)};
      if (core->on_error) {
        run_caught(*turn.job);
      } else {
        turn.job->run();
      }
      turn.job.reset();
      turn.finished = true;
      core->job_done();
    }
    core->worker_ended();
  }

  void run_caught(PoolJob& job) const {
    std::exception_ptr error;
    try {
      job.run();
      return;
    } catch (...) {
      if (!keep_exception(error)) throw;
    }
    core->on_error(error);
  }
};

void start_worker(std::shared_ptr<PoolCore> core) {
  const PoolCore& c = *core;
  go(c.worker, Worker{std::move(core)}, c.site);
}

void close_core(PoolCore& c) noexcept {
  WakeList refused;
  c.lock.lock();
  c.closed = true;
  PoolCore::take_all(c.submitters, refused);  // each still has its job
  IdleWorker* idle = c.idle.take_all();       // there is nothing left for them: they go home
  c.lock.unlock();
  refused.wake();
  while (idle != nullptr) {
    G* g = idle->g;
    idle = idle->next;  // before it runs: its frame goes
    ready(g);
  }
}

}  // namespace
}  // namespace detail

WorkPool::WorkPool(WorkPoolOptions options, const std::source_location& site)
    : core_(std::make_shared<detail::PoolCore>()) {
  static_cast<void>(must_current_g("WorkPool"));
  core_->capacity = options.queue;
  core_->worker = {.name = options.name, .stack = options.stack};
  core_->site = site;
  core_->on_error = std::move(options.on_error);
  const int n = options.workers > 0 ? options.workers : procs();
  core_->workers = n;
  // All or none.
  const auto life = [core = core_](std::size_t) mutable { detail::Worker{std::move(core)}(); };
  go_n(core_->worker, static_cast<std::size_t>(n), life, site);
}

WorkPool::~WorkPool() {
  if (procs() != 0) close();  // after run() its workers are gone, and so are their places in the lines
}

Result<void> WorkPool::submit_job(std::unique_ptr<detail::PoolJob> job, bool may_park, const Context* ctx) {
  const auto given_up = [&] { return std::unexpected(detail::done_error(*ctx, to_string(WaitReason::kWorkPoolSubmit))); };
  if (ctx != nullptr && ctx->err()) return given_up();
  detail::PoolCore& c = *core_;
  c.lock.lock();
  if (c.closed) {
    c.lock.unlock();
    return std::unexpected(Error{Code::kClosed, 0, "WorkPool::submit"});
  }
  if (detail::IdleWorker* worker = c.idle.pop(); worker != nullptr) {  // keeps I1: the queue is empty
    worker->job = job.release();
    ++c.unfinished;
    G* g = worker->g;
    c.lock.unlock();
    ready(g);
    return {};
  }
  if (c.queued < c.capacity) {
    c.jobs.push(job.release());
    ++c.queued;
    ++c.unfinished;
    c.lock.unlock();
    return {};
  }
  if (!may_park) {
    c.lock.unlock();
    return std::unexpected(Error{Code::kWouldBlock, 0, "WorkPool::try_submit"});
  }
  detail::Submitter self(job.release());
  // A core of our own: the handle may go while we wait.
  const std::shared_ptr<detail::PoolCore> core = core_;
  core->submitters.push_back(self);
  core->lock.unlock();
  const bool taken = core->submitters.wait(core->lock, self, WaitReason::kWorkPoolSubmit, kNever, ctx);
  if (self.job == nullptr) return {};
  job.reset(self.job);
  if (!taken) return given_up();
  return std::unexpected(Error{Code::kClosed, 0, "WorkPool::submit"});
}

void WorkPool::close() noexcept { detail::close_core(*core_); }

void WorkPool::drain() { static_cast<void>(drain(Context())); }

Result<void> WorkPool::drain(const Context& ctx) {
  const std::shared_ptr<detail::PoolCore> core = core_;
  return core->wait_until_zero(core->unfinished, core->drainers, ctx);
}

void WorkPool::wait() { static_cast<void>(wait(Context())); }

Result<void> WorkPool::wait(const Context& ctx) {
  close();
  const std::shared_ptr<detail::PoolCore> core = core_;
  return core->wait_until_zero(core->workers, core->enders, ctx);
}

std::size_t WorkPool::queued() const noexcept {
  const LockGuard guard(core_->lock);
  return core_->queued;
}

}  // namespace heddle
