// CpuQuota: how many CPUs' worth of time the cgroups above this process let it have.
//
//     /proc/self/cgroup      which group we are in       5:cpu,cpuacct:/docker/ab         v1, if it has the cpu controller
//                                                        0::/docker/ab/web                v2 otherwise
//     /proc/self/mountinfo   where its hierarchy shows   ... /docker/ab /sys/fs/cgroup ... - cgroup2 ...
//     its directory          mount point + what the group's path has below the mount's root: /sys/fs/cgroup/web
//     its limit              cpu.max "150000 100000", or cpu.cfs_quota_us over cpu.cfs_period_us; so for each directory
//                            from there up to the mount point, and the least counts: the kernel enforces them all
//
// I1. No malloc and no stdio: sysmon asks, and a preempted goroutine may hold their locks.
// I2. Nothing that a file says, or that no file is there, is an error: that level then sets no limit. A container shows
//     what it likes under these names.
// I3. The mounts are looked up once, the group and the limits each time: a process is moved and limits are changed while
//     it runs, but mountinfo is long on hosts with many containers, and the hierarchy stays where it is.
//
// What is not visible is not counted: ancestors above a mount's root, that is outside of the container.
//
// Source: cgroups(7), proc_pid_mountinfo(5); Linux Documentation/admin-guide/cgroup-v2.rst, "CPU", and
// scheduler/sched-bwc.rst. Go 1.25 looks at the process's own group only.
#pragma once

#include <climits>

namespace heddle {

class CpuQuota {
 public:
  static constexpr int kNone = INT_MAX;

  /// Looks for the mounts. `root` goes before each path that is opened (tests); it must outlive this.
  explicit CpuQuota(const char* root = "") noexcept;

  /// The quota in CPUs, rounded up, at least 1; kNone if there is none. Some 10 us a level; up to 30 KiB of stack.
  /// Threads: any.
  [[nodiscard]] int cpus() const noexcept;

 private:
  struct Mount {
    bool found = false;
    char root[PATH_MAX];   // of the mount, in its hierarchy
    char point[PATH_MAX];
  };

  const char* root_;
  Mount v1_;  // of the hierarchy with the cpu controller
  Mount v2_;
};

/// How many Ps fit `cpus` of the affinity mask and a quota (or CpuQuota::kNone).
///
/// As Go 1.25 does: a quota is rounded up, since the time it grants is to be used; and to 2 at least, since it bounds an
/// average: with one P nothing would run beside a goroutine that computes, and both may well run at once for a part of
/// each period. Source: golang/go:src/runtime/cgroup_linux.go.
[[nodiscard]] int procs_for(int cpus, int quota) noexcept;

}  // namespace heddle
