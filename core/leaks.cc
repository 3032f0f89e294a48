#include <heddle/core/leaks.h>

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <mutex>

#include <heddle/core/internal/freeze.h>
#include <heddle/core/internal/leak_search.h>
#include <heddle/core/internal/leaks.h>
#include <heddle/core/internal/report.h>
#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

using detail::LeakSearch;

std::mutex search_lock;  // one freeze at a time; only report threads take it

LeakObject object_of(WaitKind kind) noexcept {
  switch (kind) {
    case WaitKind::kNothing: return LeakObject::kNothing;
    case WaitKind::kChan: return LeakObject::kChannel;
    case WaitKind::kSelect: return LeakObject::kSelect;
    case WaitKind::kSync: return LeakObject::kLock;
    case WaitKind::kContext: break;  // never a suspect
  }
  return LeakObject::kNothing;
}

// A leaked goroutine does not change any more: so all this may be read after the thaw.
Leak describe(const G& g, const LeakSearch& search, std::size_t i) {
  constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: its identity is constant (g.h I3)
  Leak leak;
  const auto text = [](const char* s) { return s == nullptr ? "" : s; };
  leak.id = g.id.load(kRelaxed);
  leak.name = text(g.name.load(kRelaxed));
  leak.reason = g.wait_reason.load(kRelaxed);
  leak.object = object_of(search.wait_kind(i));
  leak.object_id = reinterpret_cast<std::uintptr_t>(search.wait_object(i)) * 0x9E37'79B9'7F4A'7C15ULL;
  leak.creator = g.creator.load(kRelaxed);
  leak.file = text(g.site_file.load(kRelaxed));
  leak.line = g.site_line.load(kRelaxed);
  leak.function = text(g.site_function.load(kRelaxed));
  return leak;
}

Span own_stack() noexcept {
  Span own;
  pthread_attr_t attr;
  if (pthread_getattr_np(pthread_self(), &attr) != 0) return own;
  void* lo = nullptr;
  std::size_t size = 0;
  pthread_attr_getstack(&attr, &lo, &size);
  pthread_attr_destroy(&attr);
  own.lo = reinterpret_cast<std::uintptr_t>(lo);
  own.hi = own.lo + size;
  return own;
}

// On a report thread. What allocates does so before the freeze or after it.
[[gnu::noinline]] void search(LeakReport& report, const LeakOptions& options) {
  LeakSearch search(options.most_bytes);
  const Span self = own_stack();
  report.gave_up = freeze_at_rest();
  if (report.gave_up != nullptr) return;
  report.gave_up = search.run(self);
  thaw();
  report.suspects = search.suspects();
  if (report.gave_up != nullptr) return;
  for (std::size_t i = 0; i < search.suspects(); ++i) {
    if (const G* g = search.leaked(i); g != nullptr) report.leaks.push_back(describe(*g, search, i));
  }
  std::ranges::sort(report.leaks, {}, &Leak::id);
}

struct Job {
  const LeakOptions& options;
  LeakReport report;
  std::exception_ptr failed;

  static void run(void* arg) noexcept {
    auto* job = static_cast<Job*>(arg);
    const std::lock_guard<std::mutex> lock(search_lock);
    try {
      search(job->report, job->options);
    } catch (...) {
      job->failed = std::current_exception();
    }
    scrub_dead_stack();  // the next search's thread may be another one
  }
  LeakReport result(bool ran) {
    if (failed != nullptr) std::rethrow_exception(failed);
    if (!ran) report.gave_up = "no thread can be had for it";
    return std::move(report);
  }
};

}  // namespace

LeakReport find_leaks(const LeakOptions& options) {
  // acquire: pairs with run_main()'s exchange, so that a P's fields are there.
  if (!sched.running.load(std::memory_order_acquire)) return {};
  Job job{options, {}, {}};
  const bool ran = current_g() != nullptr ? run_aside(&Job::run, &job) : run_apart(&Job::run, &job, true);
  return job.result(ran);
}

LeakReport find_leaks_at_end() {
  const LeakOptions options;
  Job job{options, {}, {}};
  const bool ran = run_apart(&Job::run, &job, false);
  return job.result(ran);
}

std::vector<Leak> leaks() { return find_leaks().leaks; }

std::string to_string(const LeakReport& report) {
  if (report.gave_up != nullptr) return std::string("leaked goroutines: cannot be told: ") + report.gave_up + "\n";
  if (report.leaks.empty()) return "no leaked goroutines\n";
  std::string text;
  for (const Leak& leak : report.leaks) {
    text.append("goroutine ").append(std::to_string(leak.id)).append(" [").append(to_string(leak.reason)).append(", leaked]");
    if (!leak.name.empty()) text.append(" \"").append(leak.name).append("\"");
    text += ":\n";
    switch (leak.object) {
      case LeakObject::kNothing: text += "waits for nothing that could come"; break;
      case LeakObject::kChannel: text += "waits for a channel that nobody else can reach"; break;
      case LeakObject::kSelect: text += "waits for channels that nobody else can reach"; break;
      case LeakObject::kLock: text += "waits for a lock that nobody can release"; break;
    }
    text += leak.creator == 0 ? "\ncreated at " : "\ncreated by goroutine " + std::to_string(leak.creator) + " at ";
    text.append(leak.file).append(":").append(std::to_string(leak.line));
    if (*leak.function != '\0') text.append(" (").append(leak.function).append(")");
    text += "\n\n";
  }
  return text;
}

}  // namespace heddle
