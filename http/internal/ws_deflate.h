// Deflater and Inflater: the messages of permessage-deflate, over zlib. Only ws_deflate.cc sees the library.
//
// A message is a run of raw DEFLATE blocks that ends on a byte, without the four bytes 00 00 ff ff that its last block, an
// empty one, ends with: they are cut off by who sends and put back by who receives (RFC 7692 s7.2).
//
// So where a message may end is known to the bit: behind the head of an empty block without compression, whose two lengths are
// those four bytes. What ends elsewhere is cut, or not what its sender meant, and is refused (RFC 7692 s7.2.2), but for two that
// can be read in one way only: no bytes at all, and a block that says it is the last one with nothing behind it. (s7.2.3.4 wants a
// byte of 0 there, the head of the empty block; some senders leave it out.)
//
// I1. What one side keeps from message to message, its window, it keeps only if that was agreed; else all of zlib's memory
//     is freed at a message's end, so that an idle connection holds none.
// I2. The Inflater gives out at most so many bytes as there is room for, or as the message may have, and holds no more beyond
//     that than a piece of 4 KiB, however much a few bytes stand for: it stops where the room ends, and goes on from there.
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
  /// end `out` has all of it, and behind it the four bytes. False: out of memory; it is of no use any more.
  [[nodiscard]] bool take(std::string_view bytes, bool last, std::string& out);
  /// Appends what it has of the message's bytes up to now and has not given yet. Results: as take().
  [[nodiscard]] bool flush(std::string& out);

  /// True between messages if it holds memory (I1).
  [[nodiscard]] bool holds_memory() const noexcept { return stream_ != nullptr; }

 private:
  struct Stream;
  [[nodiscard]] bool run(std::string_view bytes, int flush, std::string& out);

  const int bits_;
  const int level_;
  const bool takeover_;
  std::unique_ptr<Stream> stream_;  // null: none is under way, and nothing is kept
  bool flushed_ = true;             // all that came was given, and ends with an empty block
};

class Inflater {
 public:
  enum class Status {
    kOk,      // all was taken, and all that it stands for was given
    kFull,    // no room is left, and there may be more
    kBroken,  // this is no DEFLATE
    kLimit,   // more than the message may have
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

  /// Decompresses the next bytes of a message: takes them off the front of `bytes`, and appends what they stand for to `out`, up
  /// to `room` bytes, which is not 0. After kFull it is to be called again, also if `bytes` is empty by then. `most`: how many bytes
  /// the message may still have. After anything but kOk and kFull it is of no use any more.
  [[nodiscard]] Status take(std::string_view& bytes, std::size_t room, std::size_t most, std::string& out, Check check,
                            void* arg);
  /// The message ends here, behind a take() that said kOk, or without any. Gives kOk, or kBroken if it must not end here.
  [[nodiscard]] Status finish();

  [[nodiscard]] bool holds_memory() const noexcept { return stream_ != nullptr; }

 private:
  struct Stream;
  [[nodiscard]] bool end_empty_block();
  [[nodiscard]] bool restart();

  const int bits_;
  const bool takeover_;
  std::unique_ptr<Stream> stream_;
  bool at_edge_ = true;  // nothing has come since the message began, or since a block that said it was the last one
};

}  // namespace heddle::http::ws
