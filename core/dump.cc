#include <heddle/core/dump.h>

#include <heddle/core/internal/report.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/traceback.h>

namespace heddle {

std::string dump_goroutines(const DumpOptions& options) {
  // acquire: pairs with run_main()'s exchange, so that a P's fields are there.
  if (!sched.running.load(std::memory_order_acquire)) return {};
  if (!options.stacks) return report_all(options, nullptr);
  G* self = current_g();
  if (self == nullptr) return report_all(options, nullptr);
  struct Job {
    const DumpOptions& options;
    G* self;
    std::string text;
  } job{options, self, {}};
  if (run_aside(
          [](void* arg) {
            auto* j = static_cast<Job*>(arg);
            j->text = report_all(j->options, j->self);
          },
          &job)) {
    return job.text;
  }
  return report_all({}, nullptr);  // no thread to be had, or the scheduler stops
}

void dump() {
  print_report(dump_goroutines({.stacks = true, .runtime_frames = traceback_level() == TracebackLevel::kSystem}));
}

}  // namespace heddle
