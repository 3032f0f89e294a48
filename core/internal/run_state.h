// RunState: when does run() end? With the main goroutine, or, if that left by goexit, with the last of all.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/internal/g.h>

namespace heddle {

struct RunState {
  G* main_g = nullptr;  // constant while the scheduler runs
  std::atomic<bool> main_left{false};

  void note_goexit(G* g) noexcept {
    if (g == main_g) main_left.store(true, std::memory_order_release);  // release: before the count in living()
  }

  /// On the scheduler's side, after `g` is counted as ended.
  void note_end(G* g) noexcept {
    if (main_left.load(std::memory_order_acquire)) [[unlikely]] {  // acquire: pairs with note_goexit()
      if (living() == 0) stop();
    } else if (g == main_g) [[unlikely]] {
      stop();
    }
  }

  /// Goroutines that were started and have not ended, main among them. Too many where some start and end meanwhile; 0 only if
  /// at one moment there was none.
  [[nodiscard]] static std::uint64_t living() noexcept;

 private:
  static void stop() noexcept;
};

extern constinit RunState run_state;

}  // namespace heddle
