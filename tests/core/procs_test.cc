// How many Ps: affinity and cgroup quotas, against made-up trees of files, and the real ones of this machine.
#include <heddle/core/internal/procs.h>

#include <gtest/gtest.h>
#include <sched.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <heddle/core/internal/sched.h>
#include <heddle/core/run.h>

namespace heddle {
namespace {

constexpr int kNone = CpuQuota::kNone;

// A file system's root with what the test puts there.
class Tree {
 public:
  Tree() {
    std::string pattern = std::filesystem::temp_directory_path() / "heddle-procs-XXXXXX";
    root_ = ::mkdtemp(pattern.data());
  }
  ~Tree() { std::filesystem::remove_all(root_); }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  Tree& file(const std::string& path, const std::string& text) {
    const std::filesystem::path p = root_ + path;
    std::filesystem::create_directories(p.parent_path());
    std::ofstream(p) << text;
    return *this;
  }
  Tree& remove(const std::string& path) {
    std::filesystem::remove_all(root_ + path);
    return *this;
  }
  [[nodiscard]] const char* root() const { return root_.c_str(); }
  [[nodiscard]] int cpus() const { return CpuQuota(root()).cpus(); }

 private:
  std::string root_;
};

const std::string kOther = "24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";
const std::string kV2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const std::string kV1 = "33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";
const std::string kCpu = "/sys/fs/cgroup/cpu,cpuacct";

Tree& v2(Tree& t, const std::string& group) {
  return t.file("/proc/self/cgroup", "0::" + group + "\n").file("/proc/self/mountinfo", kOther + kV2);
}

Tree& v1(Tree& t, const std::string& group) {
  return t.file("/proc/self/cgroup", "9:memory:/m\n4:cpu,cpuacct:" + group + "\n1:name=systemd:/s\n")
      .file("/proc/self/mountinfo", kOther + kV1);
}

void v1_limit(Tree& t, const std::string& group, const std::string& quota, const std::string& period) {
  t.file(kCpu + group + "/cpu.cfs_quota_us", quota).file(kCpu + group + "/cpu.cfs_period_us", period);
}

TEST(Procs, nothing_there_is_no_limit) { EXPECT_EQ(Tree().cpus(), kNone); }

TEST(Procs, v2_quota_is_rounded_up) {
  struct Case {
    const char* text;
    int cpus;
  };
  for (const Case& c : {Case{"max 100000\n", kNone}, Case{"100000 100000\n", 1}, Case{"150000 100000\n", 2},
                        Case{"200000 100000\n", 2}, Case{"200001 100000\n", 3}, Case{"1000 100000\n", 1},
                        Case{"800000 50000", 16}, Case{"17592186044416 1\n", kNone - 1}}) {
    Tree t;
    v2(t, "/app").file("/sys/fs/cgroup/app/cpu.max", c.text);
    EXPECT_EQ(t.cpus(), c.cpus) << c.text;
  }
}

TEST(Procs, garbage_sets_no_limit) {
  for (const std::string text : {"", "\n", "max", "max\n", "100000", "100000 \n", "100000 0\n", "100000 -5\n",
                                 "-1 100000\n", "0 100000\n", "1e5 100000\n", "99999999999999999999 100000\n", "a b\n",
                                 " 100000 100000\n", "100000 100000 7\n"}) {
    Tree t;
    v2(t, "/app").file("/sys/fs/cgroup/app/cpu.max", text);
    EXPECT_EQ(t.cpus(), kNone) << text;
  }
  const std::string noise(100'000, 'x');
  const std::string empty = "0::\n";
  const std::string colons = "::\n:\n\n";
  for (const std::string& text : {noise, noise + ":" + noise, empty, colons, "0::/" + noise}) {
    Tree t;
    v2(t, "/").file("/proc/self/cgroup", text).file("/sys/fs/cgroup/x/cpu.max", "100000 100000\n");
    EXPECT_EQ(t.cpus(), kNone);
  }
}

TEST(Procs, the_least_limit_of_all_levels_counts) {
  Tree t;
  v2(t, "/a/b/c").file("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n").file("/sys/fs/cgroup/a/b/cpu.max", "300000 100000\n");
  t.file("/sys/fs/cgroup/a/cpu.max", "400000 100000\n").file("/sys/fs/cgroup/other/cpu.max", "100000 100000\n");
  EXPECT_EQ(t.cpus(), 3);
  t.file("/sys/fs/cgroup/a/cpu.max", "200000 100000\n");
  EXPECT_EQ(t.cpus(), 2);
  t.file("/sys/fs/cgroup/a/b/c/cpu.max", "100000 100000\n");
  EXPECT_EQ(t.cpus(), 1);
  // The group's own directory may be gone or hidden: what is above it still counts.
  t.remove("/sys/fs/cgroup/a/b");
  EXPECT_EQ(t.cpus(), 2);
}

TEST(Procs, v2_in_a_cgroup_namespace_has_its_limit_at_the_mount_point) {
  Tree t;
  v2(t, "/").file("/sys/fs/cgroup/cpu.max", "250000 100000\n");
  EXPECT_EQ(t.cpus(), 3);
}

TEST(Procs, v1_quota_over_period) {
  Tree t;
  v1(t, "/app/web");
  EXPECT_EQ(t.cpus(), kNone);
  v1_limit(t, "/app/web", "-1\n", "100000\n");
  EXPECT_EQ(t.cpus(), kNone);
  v1_limit(t, "/app", "350000\n", "100000\n");
  EXPECT_EQ(t.cpus(), 4);
  v1_limit(t, "/app/web", "50000\n", "25000\n");
  EXPECT_EQ(t.cpus(), 2);
  v1_limit(t, "", "10000\n", "100000\n");
  EXPECT_EQ(t.cpus(), 1);
  v1_limit(t, "", "10000\n", "nonsense\n");
  EXPECT_EQ(t.cpus(), 2);
}

TEST(Procs, v1_hierarchies_without_the_cpu_controller_are_others) {
  Tree t;
  t.file("/proc/self/cgroup", "5:cpuset:/app\n4:cpuacct:/app\n");
  t.file("/proc/self/mountinfo", kOther + "33 24 0:29 / " + kCpu + " rw - cgroup cgroup rw,cpuset\n" +
                                     "34 24 0:30 / " + kCpu + " rw - cgroup cgroup rw,cpuacct\n");
  v1_limit(t, "/app", "100000\n", "100000\n");
  EXPECT_EQ(t.cpus(), kNone);
}

TEST(Procs, hybrid_takes_the_hierarchy_with_the_controller) {
  const std::string unified = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
  Tree t;
  v1(t, "/app").file("/proc/self/mountinfo", unified + kOther + kV1);
  t.file("/proc/self/cgroup", "4:cpu,cpuacct:/app\n0::/app\n");
  v1_limit(t, "/app", "300000\n", "100000\n");
  t.file("/sys/fs/cgroup/unified/app/cpu.max", "100000 100000\n");
  EXPECT_EQ(t.cpus(), 3);
  // The other way round: v1 for other controllers only.
  t.file("/proc/self/cgroup", "0::/app\n4:memory:/app\n");
  EXPECT_EQ(t.cpus(), 1);
}

TEST(Procs, a_container_mount_shows_only_what_is_below_its_root) {
  Tree t;
  const std::string mount = "33 24 0:29 /docker/ab " + kCpu + " ro - cgroup cgroup rw,cpu\n";
  v1(t, "/docker/ab").file("/proc/self/mountinfo", kOther + mount);
  v1_limit(t, "", "200000\n", "100000\n");
  EXPECT_EQ(t.cpus(), 2);
  t.file("/proc/self/cgroup", "4:cpu,cpuacct:/docker/ab/sub\n");
  v1_limit(t, "/sub", "100000\n", "100000\n");
  EXPECT_EQ(t.cpus(), 1);
  // "/docker/abc" is not below "/docker/ab". We are in a group that the mount does not show: the container's limit holds.
  t.file("/proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n");
  v1_limit(t, "c", "100000\n", "100000\n");
  EXPECT_EQ(t.cpus(), 2);
}

TEST(Procs, a_group_outside_of_the_namespace_does_not_climb_out_of_the_mount) {
  Tree t;
  v2(t, "/../other").file("/sys/fs/cgroup/cpu.max", "300000 100000\n").file("/sys/fs/other/cpu.max", "100000 100000\n");
  EXPECT_EQ(t.cpus(), 3);
}

TEST(Procs, of_several_mounts_the_one_that_shows_most) {
  const std::string bind = "50 24 0:26 /a/b /mnt/bind rw - cgroup2 cgroup2 rw\n";
  const std::string strange = "51 24 0:26 /z /mnt/strange rw - cgroup2 cgroup2 rw\n";
  for (const std::string& mounts : {bind + kV2 + strange, kV2 + strange + bind, strange + bind + kV2}) {
    Tree t;
    v2(t, "/a/b").file("/proc/self/mountinfo", mounts);
    t.file("/sys/fs/cgroup/a/cpu.max", "200000 100000\n").file("/sys/fs/cgroup/a/b/cpu.max", "300000 100000\n");
    t.file("/mnt/bind/cpu.max", "300000 100000\n").file("/mnt/strange/cpu.max", "100000 100000\n");
    EXPECT_EQ(t.cpus(), 2) << mounts;
  }
}

TEST(Procs, mount_points_with_blanks_and_long_neighbours_are_understood) {
  Tree t;
  std::string overlay = "90 24 0:50 / /var/lib/x rw - overlay overlay rw,lowerdir=";
  for (int i = 0; i < 5'000; ++i) overlay += "/layers/" + std::to_string(i) + ":";
  v2(t, "/app").file("/proc/self/mountinfo",
                     overlay + "\n" + "30 24 0:26 / /sys/fs/c\\040group rw master:3 shared:4 - cgroup2 c rw\n" + overlay);
  t.file("/sys/fs/c group/app/cpu.max", "400000 100000\n");
  EXPECT_EQ(t.cpus(), 4);
}

TEST(Procs, changes_show_when_asked_again) {
  Tree t;
  v2(t, "/app").file("/sys/fs/cgroup/app/cpu.max", "400000 100000\n").file("/sys/fs/cgroup/new/cpu.max", "700000 100000\n");
  const CpuQuota quota(t.root());
  EXPECT_EQ(quota.cpus(), 4);
  t.file("/sys/fs/cgroup/app/cpu.max", "200000 100000\n");
  EXPECT_EQ(quota.cpus(), 2);
  t.file("/proc/self/cgroup", "0::/new\n");  // moved
  EXPECT_EQ(quota.cpus(), 7);
  t.remove("/proc/self/cgroup");
  EXPECT_EQ(quota.cpus(), kNone);
}

TEST(Procs, as_many_as_affinity_and_quota_allow_and_two_at_least_by_quota) {
  EXPECT_EQ(procs_for(8, kNone), 8);
  EXPECT_EQ(procs_for(8, 3), 3);
  EXPECT_EQ(procs_for(8, 1), 2);
  EXPECT_EQ(procs_for(2, 7), 2);
  EXPECT_EQ(procs_for(1, 1), 1);
  EXPECT_EQ(procs_for(1, kNone), 1);
  EXPECT_EQ(procs_for(0, kNone), 1);
  EXPECT_EQ(procs_for(1'000'000, kNone), kMaxProcs);
}

TEST(Procs, available_procs_follows_the_affinity_mask) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_GE(available_procs(), 1);
  EXPECT_LE(available_procs(), CPU_COUNT(&before));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i) {
    if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(available_procs(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(Procs, HEDDLE_PROCS_overrides) {
  ASSERT_EQ(setenv("HEDDLE_PROCS", "3", 1), 0);
  EXPECT_EQ(heddle::run([] { return procs(); }), 3);
  ASSERT_EQ(unsetenv("HEDDLE_PROCS"), 0);
  EXPECT_EQ(heddle::run([] { return procs(); }), available_procs());
}

// Not a benchmark: the mean over many must leave room for sysmon to ask every second without anybody noticing.
TEST(Procs, asking_again_is_cheap) {
  using namespace std::chrono;
  constexpr int kTimes = 200;
  static_cast<void>(available_procs());
  const auto begin = steady_clock::now();
  int sum = 0;
  for (int i = 0; i < kTimes; ++i) sum += available_procs();
  const auto each = (steady_clock::now() - begin) / kTimes;
  EXPECT_GE(sum, kTimes);
  RecordProperty("ns_each", static_cast<int>(duration_cast<nanoseconds>(each).count()));
  EXPECT_LT(each, milliseconds(10));
}

}  // namespace
}  // namespace heddle
