// main() of every test binary: GoogleTest's, and one question before. And what sanitizers are told of all tests.
//
// A run with HEDDLE_POLLER=io_uring where the kernel refuses io_uring (many containers forbid it) must be seen as
// skipped, with the reason. The kernel is asked here by a raw system call, not through net: were net's own probe wrong,
// the tests would fail, and rightly so.
#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_THREAD__)
// A process that ends waits for a second, so that threads which go on may still show a race. Each test is a process of its
// own, and its threads have ended or are idle by then: a thousand seconds for nothing.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "atexit_sleep_ms=20"; }
#endif

namespace {

// 0, or the errno with which the kernel refuses a ring such as net sets up.
int io_uring_refusal() {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  const long fd = syscall(SYS_io_uring_setup, 4, &params);
  if (fd < 0) return errno;
  close(static_cast<int>(fd));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const char* poller = std::getenv("HEDDLE_POLLER");
  if (poller != nullptr && std::strcmp(poller, "io_uring") == 0 && !GTEST_FLAG_GET(list_tests)) {
    if (const int refusal = io_uring_refusal(); refusal != 0) {
      // The bracketed word is what ctest takes for a skip.
      std::printf("[  SKIPPED ] io_uring is not to be had here: io_uring_setup: %s\n", std::strerror(refusal));
      return 0;
    }
  }
  return RUN_ALL_TESTS();
}
