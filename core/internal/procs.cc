// How many Ps by default: the CPUs that the affinity mask leaves to this process.
#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include <heddle/core/internal/sched.h>

namespace heddle {

int available_procs() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  int n = 0;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    n = CPU_COUNT(&set);
  } else {
    n = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));  // EINVAL: more CPUs than a cpu_set_t has bits
  }
  return std::clamp(n, 1, kMaxProcs);
}

}  // namespace heddle
