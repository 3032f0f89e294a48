// Encoders: gzip, brotli and zstd behind one small interface. Only encoder.cc sees the libraries.
//
// An encoder is some hundred KiB of tables that are dear to make: gzip's and zstd's are used again (restart()). They
// are on the heap: a step takes 20 KiB of stack at most (brotli 11; gzip and zstd 8 KiB).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace heddle::http {

enum class Coding : std::uint8_t { kGzip, kBrotli, kZstd };

class Encoder {
 public:
  enum class Until : std::uint8_t {
    kTaken,    // all input is taken; output may stay inside
    kFlushed,  // and a decoder can be given all of it
    kEnded,    // and the stream is at its end
  };
  struct Step {
    std::size_t produced = 0;
    bool done = false;    // else: call again with what is left of the input
    bool failed = false;  // out of memory; the encoder is of no use until restart()
  };

  virtual ~Encoder() = default;

  /// Takes from `in`, which becomes what is left, and writes to `out`, of some KiB. Computes, and never parks.
  virtual Step step(std::string_view& in, std::span<char> out, Until until) noexcept = 0;

  /// Begins a new stream, wherever the old one was. False: out of memory.
  [[nodiscard]] virtual bool restart() noexcept = 0;
};

/// An encoder with the library's level; restart() comes first. Throws std::bad_alloc.
[[nodiscard]] std::unique_ptr<Encoder> make_encoder(Coding coding, int level);

/// Whether the library has that level for streams: gzip 1-9, brotli 0-11, zstd 1-19.
[[nodiscard]] bool is_level(Coding coding, int level) noexcept;

}  // namespace heddle::http
