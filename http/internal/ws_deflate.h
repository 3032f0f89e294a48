// Deflater and Inflater: the messages of permessage-deflate, over zlib. Only ws_deflate.cc sees the library.
//
// A message is a run of raw DEFLATE blocks that ends on a byte, without the four bytes 00 00 ff ff that its last block, an
// empty one, ends with: they are cut off by who sends and put back by who receives (RFC 7692 s7.2).
//
// I1. What one side keeps from message to message, its window, it keeps only if that was agreed; else all of zlib's memory
//     is freed at a message's end, so that an idle connection holds none.
// I2. The Inflater gives out at most so many bytes as it was allowed, and holds no more beyond that than a piece of 4 KiB,
//     however much a small message stands for.
// I3. Of the things that are wrong with a message the Inflater tells the one that comes first in what it stands for, so that
//     it does not matter where the reads of it ended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace heddle::http::ws {

class Deflater {
 public:
  /// `bits`: of the window, 9 to 15. `level`: 1 to 9.
  Deflater(int bits, int level, bool takeover) noexcept;
  ~Deflater();
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  /// Compresses the next bytes of a message, its last ones if `last`, and appends what comes of it to `out`. At the message's
  /// end `out` has all of it, and behind it the four bytes. A message of no bytes is not for it: zlib flushes nothing twice.
  /// False: out of memory; it is of no use any more.
  [[nodiscard]] bool take(std::string_view bytes, bool last, std::string& out);

  /// True between messages if it holds memory (I1).
  [[nodiscard]] bool holds_memory() const noexcept { return stream_ != nullptr; }

 private:
  struct Stream;
  const int bits_;
  const int level_;
  const bool takeover_;
  std::unique_ptr<Stream> stream_;  // null: none is under way, and nothing is kept
};

class Inflater {
 public:
  enum class Status : std::uint8_t {
    kOk,
    kBroken,  // this is no DEFLATE
    kLimit,   // more than was allowed
    kNoMemory,
    kRefused,  // by `check`
  };
  /// Looks at each piece as it comes out; false ends the message.
  using Check = bool (*)(void* arg, std::string_view piece);

  /// `bits`: of the peer's window, 8 to 15.
  Inflater(int bits, bool takeover) noexcept;
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// Decompresses the next bytes of a message, its last ones if `last`, and appends what they stand for to `out`, as long as
  /// that has no more than `most` bytes. After anything but kOk it is of no use any more.
  [[nodiscard]] Status take(std::string_view bytes, bool last, std::size_t most, std::string& out, Check check,
                            void* arg);

  [[nodiscard]] bool holds_memory() const noexcept { return stream_ != nullptr; }

 private:
  struct Stream;
  [[nodiscard]] Status run(std::string_view bytes, std::size_t most, std::string& out, Check check, void* arg);

  const int bits_;
  const bool takeover_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace heddle::http::ws
