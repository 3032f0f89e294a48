// Reader and Writer: one message of a WebSocket as it comes, and as it is made: for messages that are longer than what one wants to
// hold, or that are not whole yet.
//
//     auto in = socket.next_reader();                     auto out = socket.next_writer(ws::Kind::kBinary);
//     while (auto n = in->read(buf)) {                    while (more(piece) && out->write(piece)) {
//       if (*n == 0) break;  // its end                   }
//       use(buf.first(*n));                               out->close();  // its last frame
//     }
//
// Connection::read() and write() are the same for a message as a whole, and go the same ways.
//
// I1. A Reader's 0 means that the message is whole; a message that breaks off, for whatever reason, is an error.
// I2. A message that a Writer has begun is whole for the peer only behind a close() that returned no error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/net/transport.h>

namespace heddle::http::ws {

class Engine;

enum class Kind : std::uint8_t { kText, kBinary };

/// One message that comes. Copies are the same one.
///
/// What Options says of messages holds for it, too: max_message above all, which may be as large as can be for who holds none
/// of it. Whoever reads on, by this or another way, deals with control frames meanwhile (websocket.h).
///
/// Threads:  one goroutine at a time.
/// Memory:   what the buffer takes, up to 64 KiB at a time, however much a few compressed bytes stand for.
/// Lifetime: as the Connection, which may be moved. It ends nothing: who wants no more of the message goes on to the next one.
class Reader final : public net::Reader {
 public:
  [[nodiscard]] Kind kind() const noexcept { return kind_; }

  /// Reads of the message into `buf` as soon as any of it is there; parks. Text is checked as it comes, and may be cut within a
  /// code point.
  ///
  /// Returns: bytes read; 0 only at the message's end (an empty `buf` returns 0 at once).
  /// Errors:  as Connection::read(), kEof for a Close in the middle of the message among them; kCanceled if next_reader() or
  ///          read() was called since, which have dropped the rest; the code of `ctx`: then nothing is lost, and it goes on.
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf);
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override { return read({}, buf); }

 private:
  friend class Connection;
  Reader(Engine& engine, Kind kind, std::uint64_t number) noexcept : engine_(&engine), number_(number), kind_(kind) {}

  Engine* engine_;
  std::uint64_t number_;  // of the message, among those that are read so
  Kind kind_;
  bool ended_ = false;
};

/// One message that is made. Movable.
///
/// Others' messages wait until it is closed or destroyed, those of the same goroutine too; control frames and a Close find their
/// place. One that is destroyed before close() leaves its message unfinished, if it had begun: then no other can be sent, and
/// the connection is there to be read, and closed.
///
/// Threads:  one goroutine at a time, not always the same. Lifetime: as the Connection, which may be moved.
class Writer final : public net::Writer {
 public:
  Writer(Writer&& other) noexcept;
  Writer& operator=(Writer&& other) noexcept;
  ~Writer();

  /// Sends the message's next bytes; parks while the peer is slow. Each call makes a frame at least, and none of more than
  /// write_frame bytes: gather what is small (net/buf_writer.h). If compression was agreed on, and the first bytes are not fewer
  /// than its threshold, the message is compressed: then frames go out as they fill, and with flush().
  ///
  /// Errors: kInvalid for bytes that make the text no UTF-8: they are not sent, and it goes on; kCanceled after an error or
  ///         close(); else as Connection::write(), and then it is over. Throws std::bad_alloc.
  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override;
  [[nodiscard]] Result<void> write(std::string_view text);
  using net::Writer::writev;

  /// Sends what was written so far, so that the peer can read all of it now. Errors: as write().
  [[nodiscard]] Result<void> flush();

  /// Sends the message's end. Errors: kInvalid for text that ends within a code point: it goes on; else as write().
  [[nodiscard]] Result<void> close();

 private:
  friend class Connection;
  explicit Writer(Engine& engine) noexcept : engine_(&engine) {}
  [[nodiscard]] Result<void> done(Result<void> result, bool last);

  Engine* engine_;  // null: it is over
};

}  // namespace heddle::http::ws
