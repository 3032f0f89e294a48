// Memory that tests leave behind on purpose: what goroutines hold that run() abandons is never freed (core/run.h), and
// LeakSanitizer would report it at the end of the process. One line per test or file whose subject this is.
// Source: LeakSanitizer's suppressions, "leak:" and a part of a function's or file's name on the allocation's stack.
#if defined(__SANITIZE_ADDRESS__)
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:threads_post_through_many_runs\n"
         "leak:is_told_when_run_ends_first\n"
         "leak:Task_moves_from_handle_to_handle\n"
         "leak:with_abandoned_waiters\n"
         "leak:a_deadline_gives_its_own_code\n"  // the goroutine that a deadline starts
         "leak:tests/core/foreign_test.cc\n"
         "leak:tests/core/leaks_test.cc\n"
         "leak:tests/core/notify_test.cc\n"
         "leak:tests/core/test_kit_test.cc\n"
         "leak:tests/core/work_pool_test.cc\n";
}
#endif
