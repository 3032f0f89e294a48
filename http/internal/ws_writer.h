// MessageWriter: messages and control frames onto a Transport, from any number of goroutines.
//
//     message_lock_   held for a whole message: its fragments stand one behind the other
//     frame_lock_     held for one frame: so control frames go between the fragments of a message, and a Close ends it there
//
// I1. Behind a Close nothing is sent (s5.5.1): closed_ is set under frame_lock_ with the Close, and asked under it by all.
// I2. A frame that was begun is finished or nothing follows it: after a failed write every other fails the same way. Then the
//     reader is the one to find out what the peer sent last; only a peer that does not read (kTimeout) ends the transport.
// I3. A client's frames are masked with a mask nobody can foresee, a new one each (s5.3, s10.3).
// I4. A message that was begun and left is never ended, nor followed by another: what the peer took for a whole one would not be
//     one, and what was compressed is not known to it.
// I5. One that an exception ended (std::bad_alloc) is given up as if its write had failed: some of it may have been sent, or be
//     in the Deflater's window, and what followed would not be understood.
//
// Source: RFC 6455 s5; RFC 7692 s7.2.1.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/mutex.h>
#include <heddle/http/internal/ws_deflate.h>
#include <heddle/http/internal/ws_extension.h>
#include <heddle/http/internal/ws_frame.h>
#include <heddle/http/websocket_options.h>
#include <heddle/net/transport.h>

namespace heddle::http::ws {

/// What comes behind a piece of a message.
enum class More : std::uint8_t {
  kYes,
  kFlush,  // more; but this much is to be read now
  kNo,     // nothing: it is the last
};

class MessageWriter {
 public:
  /// `transport` must outlive it.
  MessageWriter(net::Transport& transport, Role role, const Options& options, const std::optional<Agreed>& deflate);

  /// Sends a message, in one frame or several. Parks. Errors: kClosed behind a Close; kTimeout, "write"; the transport's.
  /// Throws std::bad_alloc; then everything fails with kNoResources (I5).
  [[nodiscard]] Result<void> message(Opcode opcode, std::string_view bytes);

  /// A message in pieces: begin(), piece() …, leave(). In between others' messages wait. Errors: the context's; kCanceled after a
  /// message that was left unfinished (I4).
  [[nodiscard]] Result<void> begin(Opcode opcode, const Context& ctx);
  /// Sends some of it. Errors: as message(); then only leave() may follow, as behind the last piece.
  [[nodiscard]] Result<void> piece(std::string_view bytes, More more);
  void leave() noexcept;

  /// Sends a Ping or a Pong. Errors: as message().
  [[nodiscard]] Result<void> control(Opcode opcode, std::string_view payload);
  /// Sends a Close, unless one was sent; nothing follows it. `ctx` ends the wait for the frame that is under way.
  /// Errors: the context's; as message(), but for kClosed.
  [[nodiscard]] Result<void> close(std::string_view payload, const Context& ctx);

  /// Why a write has failed, if one has.
  [[nodiscard]] std::optional<Error> failure() const noexcept;

 private:
  [[nodiscard]] Result<void> send(std::string_view bytes, More more);
  [[nodiscard]] Result<void> plain(std::string_view bytes, bool last);
  [[nodiscard]] Result<void> compressed(std::string_view bytes, More more);
  [[nodiscard]] Result<void> fragment(std::string_view payload, bool fin);
  [[nodiscard]] Result<void> frame(FrameHead head, std::string_view payload);
  [[nodiscard]] Result<void> put(FrameHead head, std::string_view payload, Duration timeout);
  [[nodiscard]] Result<void> give_up(const Error& why);
  void fail(const Error& why) noexcept;
  [[nodiscard]] Mask next_mask();

  net::Transport& transport_;
  const Role role_;
  const std::size_t most_;  // bytes of a frame
  const std::size_t threshold_;
  const Duration write_timeout_;
  const Duration close_timeout_;

  Mutex message_lock_;
  // Guarded by message_lock_.
  std::unique_ptr<Deflater> deflater_;  // null: nothing is compressed
  struct UnderWay {
    Opcode next = Opcode::kBinary;  // of the next frame
    bool begun = false;             // a byte was taken, or a frame was sent
    bool ended = false;             // its last frame was sent
    bool compress = false;
    std::string out = {};  // compressed, and not sent
  };
  UnderWay message_;
  bool unfinished_ = false;  // I4

  Mutex frame_lock_;
  // Guarded by frame_lock_.
  bool closed_ = false;
  Error failure_;
  std::array<std::uint8_t, 64> random_{};  // of which the masks are cut
  std::size_t random_left_ = 0;

  std::atomic<bool> failed_{false};  // written under frame_lock_, behind failure_
};

}  // namespace heddle::http::ws
