// Memory that tests leave behind on purpose: what goroutines hold that run() abandons is never freed (core/run.h), and
// LeakSanitizer would report it at the end of the process. One line per test or file whose subject this is.
// Source: LeakSanitizer's suppressions, "leak:" and a part of a function's or file's name on the allocation's stack.
#if defined(__SANITIZE_ADDRESS__)
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:abandoned_lookup\n"
         "leak:abandoned_waiter\n";
}
#endif
