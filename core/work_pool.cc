#include <heddle/core/work_pool.h>

#include <algorithm>

#include <heddle/core/check.h>
#include <heddle/core/lock.h>
#include <heddle/core/park.h>
#include <heddle/core/run.h>
#include <heddle/core/task.h>

namespace heddle {
namespace detail {
namespace {

// A parked goroutine's place in one of the pool's lists; a local of it.
struct PoolWaiter {
  G* g = nullptr;
  PoolWaiter* next = nullptr;
  PoolJob* job = nullptr;  // a submitter's, null when it was accepted; for an idle worker: what it was given
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

// The next link is read first: a waiter that is readied may be gone.
void ready_all(PoolWaiter* w) noexcept {
  while (w != nullptr) {
    G* g = w->g;
    w = w->next;
    ready(g);
  }
}

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
  Line<PoolWaiter> submitters;
  Line<PoolWaiter> idle;
  Line<PoolWaiter> drainers;  // until unfinished is 0
  Line<PoolWaiter> enders;    // until workers is 0

  void wait_in(Line<PoolWaiter>& line, PoolWaiter& self, WaitReason reason) {
    line.push(&self);
    park_unlock(lock, reason);
  }

  ~PoolCore() {
    while (PoolJob* job = jobs.pop()) delete job;  // none, unless workers were abandoned or could not be started
  }

  [[nodiscard]] PoolJob* next_job();
  void job_done() noexcept;
  void worker_ended() noexcept;
};

// nullptr: closed, and nothing is left.
PoolJob* PoolCore::next_job() {
  lock.lock();
  if (PoolJob* job = jobs.pop(); job != nullptr) {
    --queued;
    PoolWaiter* submitter = submitters.pop();
    if (submitter != nullptr) {  // keeps I1: there is room now
      jobs.push(std::exchange(submitter->job, nullptr));
      ++queued;
      ++unfinished;
    }
    lock.unlock();
    if (submitter != nullptr) ready(submitter->g);
    return job;
  }
  if (PoolWaiter* submitter = submitters.pop(); submitter != nullptr) {  // a queue of no length
    PoolJob* job = std::exchange(submitter->job, nullptr);
    ++unfinished;
    lock.unlock();
    ready(submitter->g);
    return job;
  }
  if (closed) {
    lock.unlock();
    return nullptr;
  }
  PoolWaiter self{current_g()};
  wait_in(idle, self, WaitReason::kWorkPoolIdle);
  return self.job;
}

void PoolCore::job_done() noexcept {
  lock.lock();
  PoolWaiter* through = --unfinished == 0 ? drainers.take_all() : nullptr;
  lock.unlock();
  ready_all(through);
}

void PoolCore::worker_ended() noexcept {
  lock.lock();
  PoolWaiter* through = --workers == 0 ? enders.take_all() : nullptr;
  lock.unlock();
  ready_all(through);
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
  c.lock.lock();
  c.closed = true;
  PoolWaiter* refused = c.submitters.take_all();
  PoolWaiter* idle = c.idle.take_all();  // there is nothing left for them: they go home
  c.lock.unlock();
  ready_all(refused);
  ready_all(idle);
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

Result<void> WorkPool::submit_job(std::unique_ptr<detail::PoolJob> job, bool may_park) {
  detail::PoolCore& c = *core_;
  c.lock.lock();
  if (c.closed) {
    c.lock.unlock();
    return std::unexpected(Error{Code::kClosed, 0, "WorkPool::submit"});
  }
  if (detail::PoolWaiter* worker = c.idle.pop(); worker != nullptr) {  // keeps I1: the queue is empty
    worker->job = job.release();
    ++c.unfinished;
    c.lock.unlock();
    ready(worker->g);
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
  detail::PoolWaiter self{must_current_g("work pool submit"), nullptr, job.release()};
  // A core of our own: the handle may go while we wait.
  const std::shared_ptr<detail::PoolCore> core = core_;
  core->wait_in(core->submitters, self, WaitReason::kWorkPoolSubmit);
  if (self.job == nullptr) return {};
  job.reset(self.job);
  return std::unexpected(Error{Code::kClosed, 0, "WorkPool::submit"});
}

void WorkPool::close() noexcept { detail::close_core(*core_); }

void WorkPool::drain() {
  detail::PoolCore& c = *core_;
  c.lock.lock();
  if (c.unfinished == 0) return c.lock.unlock();
  detail::PoolWaiter self{must_current_g("work pool wait")};
  c.wait_in(c.drainers, self, WaitReason::kWorkPoolWait);
}

void WorkPool::wait() {
  close();
  detail::PoolCore& c = *core_;
  c.lock.lock();
  if (c.workers == 0) return c.lock.unlock();
  detail::PoolWaiter self{must_current_g("work pool wait")};
  c.wait_in(c.enders, self, WaitReason::kWorkPoolWait);
}

std::size_t WorkPool::queued() const noexcept {
  const LockGuard guard(core_->lock);
  return core_->queued;
}

}  // namespace heddle
