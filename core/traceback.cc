#include <heddle/core/traceback.h>

#include <cstdlib>
#include <string_view>

#include <heddle/core/internal/report.h>
#include <heddle/core/internal/sched.h>

namespace heddle {

TracebackLevel traceback_level() noexcept {
  const char* env = std::getenv("HEDDLE_TRACEBACK");
  const std::string_view level = env == nullptr ? "" : env;
  if (level == "none" || level == "0") return TracebackLevel::kNone;
  if (level == "all" || level == "1") return TracebackLevel::kAll;
  if (level == "system" || level == "2") return TracebackLevel::kSystem;
  return TracebackLevel::kSingle;
}

std::string traceback() {
  G* g = current_g();
  if (g == nullptr) return {};
  // Parked, its frames are those of a call of traceback(): hidden, as all of the runtime's.
  struct Job {
    G* g;
    std::string text;
  } job{g, {}};
  if (!run_aside(
          [](void* arg) {
            auto* j = static_cast<Job*>(arg);
            StackImage image;
            const bool whole = copy_parked(*j->g, image);
            j->text = report_one(*j->g, whole ? &image : nullptr, traceback_level() == TracebackLevel::kSystem);
          },
          &job)) {
    return {};
  }
  return job.text;
}

}  // namespace heddle
