#include <heddle/http/access_log.h>

#include <fcntl.h>
#include <signal.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include <heddle/core/lock.h>
#include <heddle/core/pin.h>

namespace heddle::http {
namespace {

constexpr std::size_t kShards = 8;
constexpr std::size_t kLeastBuffer = 256 * 1024;
// How long lines may wait to be gathered. Only the first one after a silence wakes the writer.
constexpr auto kGather = std::chrono::milliseconds(5);

spdlog::sink_ptr sink_for(const std::string& path) {
  if (path == "-") return std::make_shared<spdlog::sinks::stdout_sink_st>();
  return std::make_shared<spdlog::sinks::basic_file_sink_st>(path);
}

}  // namespace

struct AccessLog::Inside {
  struct alignas(64) Shard {
    RawMutex lock{LockRank::kLeaf};
    std::string lines;  // guarded by lock; never beyond the capacity that it was made with
  };

  Inside(const AccessLogOptions& options, spdlog::sink_ptr sink)
      : format(options.format),
        max_target(options.max_target),
        room(options.buffer / kShards),
        logger("access", std::move(sink)) {
    for (Shard& shard : shards) shard.lines.reserve(room);
    batch.reserve(room);
    logger.set_pattern("%v");
    // Signals are not for the writer: a program that waits for SIGTERM has it blocked elsewhere, and would die by it here.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      writer = std::thread([this] { run(); });
    } catch (...) {
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      throw;
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~Inside() {
    {
      std::lock_guard guard(mutex);
      stopping = true;
    }
    wake.notify_one();
    writer.join();
  }

  void put(std::string_view line) noexcept {
    // Any shard would do; that of the P is one that no other P is at now. The goroutine may have moved by the lock.
    Shard& shard = shards[static_cast<std::size_t>(Pin().p()) % kShards];
    bool half = false;
    {
      LockGuard guard(shard.lock);
      if (shard.lines.size() + line.size() + 1 > room) {  // keeps I2
        dropped.fetch_add(1, std::memory_order_relaxed);  // relaxed: a statistic
        return;
      }
      const bool below = shard.lines.size() < room / 2;
      shard.lines.append(line).append("\n");
      half = below && shard.lines.size() >= room / 2;
    }
    if (half) return call_writer(hurry);
    // seq_cst on both sides: our lines, then a look at `idle`; the writer's `idle`, then a look for lines. So either it
    // finds them, or we find it idle.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (idle.load(std::memory_order_relaxed)) call_writer(called);
  }

  void call_writer(std::atomic<bool>& why) noexcept {
    // relaxed: who finds it set leaves the call to the one who set it; mutex orders it for the writer.
    if (why.exchange(true, std::memory_order_relaxed)) return;
    mutex.lock();  // it waits already, or has not looked yet
    mutex.unlock();
    wake.notify_one();
  }

  // The writer's thread.
  void run() {
    std::unique_lock guard(mutex);
    for (;;) {
      const std::uint64_t asked = flushes_asked;
      const bool last = stopping;
      guard.unlock();
      const bool wrote = write_all();
      guard.lock();
      if (flushes_done != asked) {
        flushes_done = asked;
        flushed.notify_all();
      }
      if (last) return;
      if (wrote) {
        // More is on its way, most likely: gather it.
        wake.wait_for(guard, kGather, [this, asked] { return stopping || flushes_asked != asked || hurries(); });
        continue;
      }
      idle.store(true, std::memory_order_relaxed);  // relaxed, both words here: the fences order them
      std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with put()'s
      if (!any()) {
        wake.wait(guard, [this, asked] {
          return stopping || flushes_asked != asked || called.load(std::memory_order_relaxed) || hurries();
        });
      }
      idle.store(false, std::memory_order_relaxed);
      called.store(false, std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_seq_cst);  // who found `called` set has its lines seen now
    }
  }

  // True if a shard has become half full. The writer's, with mutex held: relaxed, for that orders it.
  bool hurries() noexcept { return hurry.exchange(false, std::memory_order_relaxed); }

  bool any() {
    for (Shard& shard : shards) {
      LockGuard guard(shard.lock);
      if (!shard.lines.empty()) return true;
    }
    return false;
  }

  // True if there was something.
  bool write_all() {
    bool wrote = false;
    for (Shard& shard : shards) {
      {
        LockGuard guard(shard.lock);
        if (shard.lines.empty()) continue;
        batch.swap(shard.lines);
      }
      wrote = true;
      // The logger ends what it writes with a line end of its own. It reports failures to standard error, and goes on.
      logger.info(spdlog::string_view_t(batch.data(), batch.size() - 1));
      batch.clear();
    }
    if (wrote) logger.flush();
    return wrote;
  }

  const AccessLogFormat format;
  const std::size_t max_target;
  const std::size_t room;  // bytes of a shard
  std::array<Shard, kShards> shards;
  std::atomic<std::uint64_t> dropped{0};
  std::atomic<bool> idle{false};    // the writer waits, or is about to; it alone stores
  std::atomic<bool> called{false};  // it was told that there is a line, since it became idle
  std::atomic<bool> hurry{false};   // it was told that a shard is half full

  // the writer's
  spdlog::logger logger;
  std::string batch;

  std::mutex mutex;
  std::condition_variable wake;     // the writer
  std::condition_variable flushed;  // who flushes
  // guarded by mutex
  bool stopping = false;
  std::uint64_t flushes_asked = 0;
  std::uint64_t flushes_done = 0;

  std::thread writer;  // the last to be made
};

Result<std::shared_ptr<AccessLog>> AccessLog::open(const AccessLogOptions& options) {
  if (options.buffer < kLeastBuffer) return std::unexpected(Error{Code::kInvalid, 0, "access log"});
  if (options.path != "-") {
    // spdlog would make the folders that are missing: one that is misspelt, most likely.
    const int fd = ::open(options.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return std::unexpected(Error::from_errno(errno, "access log"));
    ::close(fd);
  }
  try {
    errno = 0;
    auto inside = std::make_unique<Inside>(options, sink_for(options.path));
    return std::shared_ptr<AccessLog>(new AccessLog(std::move(inside)));
  } catch (const spdlog::spdlog_ex&) {  // the file
    return std::unexpected(Error::from_errno(errno != 0 ? errno : EIO, "access log"));
  } catch (const std::system_error& e) {  // the thread
    return std::unexpected(Error::from_errno(e.code().value(), "access log"));
  }
}

AccessLog::AccessLog(std::unique_ptr<Inside> inside) noexcept : inside_(std::move(inside)) {}
AccessLog::~AccessLog() = default;

void AccessLog::write(const RequestRecord& record) {
  try {
    inside_->put(access_line(record, inside_->format, inside_->max_target));
  } catch (const std::bad_alloc&) {
    inside_->dropped.fetch_add(1, std::memory_order_relaxed);  // relaxed: a statistic
  }
}

std::uint64_t AccessLog::dropped() const noexcept {
  return inside_->dropped.load(std::memory_order_relaxed);  // relaxed: a statistic
}

void AccessLog::flush() {
  std::unique_lock guard(inside_->mutex);
  const std::uint64_t ours = ++inside_->flushes_asked;
  inside_->wake.notify_one();
  inside_->flushed.wait(guard, [&] { return inside_->flushes_done >= ours; });
}

std::function<void(const RequestRecord&)> access_log(std::shared_ptr<AccessLog> log) {
  return [log = std::move(log)](const RequestRecord& record) { log->write(record); };
}

}  // namespace heddle::http
