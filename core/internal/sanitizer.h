// Tells ASan and TSan about every switch of stacks; nothing in other builds.
//
// ASan keeps a shadow of the stack's bounds and a fake stack per thread, TSan a shadow call stack and a clock per "fiber":
// both must know when the stack under them changes. The functions that switch are themselves not instrumented, or their
// entry and exit would be booked on different stacks.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define HEDDLE_ASAN 1
#else
#define HEDDLE_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define HEDDLE_TSAN 1
#else
#define HEDDLE_TSAN 0
#endif

// A function that switches stacks is not instrumented, and then must not become part of one that is. Elsewhere it is to be
// inlined: the switch is a jump (switch_stack in context.h), so that the processor's stack of return addresses stays right.
#if HEDDLE_ASAN || HEDDLE_TSAN
#define HEDDLE_SWITCHES_STACKS __attribute__((no_sanitize("address"), no_sanitize("thread"), noinline))
#define HEDDLE_INLINE_SWITCH HEDDLE_SWITCHES_STACKS inline
#else
#define HEDDLE_SWITCHES_STACKS __attribute__((noinline))
#define HEDDLE_INLINE_SWITCH __attribute__((always_inline)) inline
#endif

// For code that runs where a sanitizer's runtime may have been interrupted, or that copies foreign stacks on purpose.
#define HEDDLE_UNINSTRUMENTED __attribute__((no_sanitize("address"), no_sanitize("thread")))

namespace heddle {

inline constexpr bool kSanitized = HEDDLE_ASAN != 0 || HEDDLE_TSAN != 0;

namespace sanitizer {

/// Before leaving the current stack for [lo, lo+size). `save` keeps its fake stack; null: the stack ends here.
inline void start_switch([[maybe_unused]] void** save, [[maybe_unused]] const void* lo, [[maybe_unused]] std::size_t size,
                         [[maybe_unused]] void* fiber) noexcept {
#if HEDDLE_ASAN
  __sanitizer_start_switch_fiber(save, lo, size);
#endif
#if HEDDLE_TSAN
  __tsan_switch_to_fiber(fiber, 0);
#endif
}

/// First thing on the stack switched to; `saved` is what its own start_switch kept (null on a new stack).
inline void finish_switch([[maybe_unused]] void* saved) noexcept {
#if HEDDLE_ASAN
  __sanitizer_finish_switch_fiber(saved, nullptr, nullptr);
#endif
}

inline void* current_fiber() noexcept {
#if HEDDLE_TSAN
  return __tsan_get_current_fiber();
#else
  return nullptr;
#endif
}

inline void* create_fiber() noexcept {
#if HEDDLE_TSAN
  return __tsan_create_fiber(0);
#else
  return nullptr;
#endif
}

inline void destroy_fiber([[maybe_unused]] void* fiber) noexcept {
#if HEDDLE_TSAN
  if (fiber != nullptr) __tsan_destroy_fiber(fiber);
#endif
}

/// Edges that TSan cannot see, because a store on the way is made in a signal handler and so not instrumented.
inline void happens_before([[maybe_unused]] const void* object) noexcept {
#if HEDDLE_TSAN
  __tsan_release(const_cast<void*>(object));
#endif
}
inline void happens_after([[maybe_unused]] const void* object) noexcept {
#if HEDDLE_TSAN
  __tsan_acquire(const_cast<void*>(object));
#endif
}

/// A stack whose goroutine is gone (ended or abandoned) holds no poisoned frames any more.
inline void unpoison_stack([[maybe_unused]] void* lo, [[maybe_unused]] std::size_t size) noexcept {
#if HEDDLE_ASAN
  __asan_unpoison_memory_region(lo, size);
#endif
}

}  // namespace sanitizer
}  // namespace heddle
