// MessageWriter: messages and control frames onto a Transport, from any number of goroutines.
//
//     message_lock_   held for a whole message: its fragments stand one behind the other
//     frame_lock_     held for one frame: so control frames go between the fragments of a message, and a Close ends it there
//
// I1. Behind a Close nothing is sent (s5.5.1): closed_ is set under frame_lock_ with the Close, and asked under it by all.
// I2. A frame that was begun is finished or nothing follows it: after a failed write every other fails the same way. Then the
//     reader is the one to find out what the peer sent last; only a peer that does not read (kTimeout) ends the transport.
// I3. A client's frames are masked with a mask nobody can foresee, a new one each (s5.3, s10.3).
//
// Source: RFC 6455 s5; RFC 7692 s7.2.1.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
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

class MessageWriter {
 public:
  /// `transport` must outlive it.
  MessageWriter(net::Transport& transport, Role role, const Options& options, const std::optional<Agreed>& deflate);

  /// Sends a message, in one frame or several. Parks. Errors: kClosed behind a Close; kTimeout, "write"; the transport's.
  [[nodiscard]] Result<void> message(Opcode opcode, std::string_view bytes);
  /// Sends a Ping or a Pong. Errors: as message().
  [[nodiscard]] Result<void> control(Opcode opcode, std::string_view payload);
  /// Sends a Close, unless one was sent; nothing follows it. `ctx` ends the wait for the frame that is under way.
  /// Errors: the context's; as message(), but for kClosed.
  [[nodiscard]] Result<void> close(std::string_view payload, const Context& ctx);

  /// Why a write has failed, if one has.
  [[nodiscard]] std::optional<Error> failure() const noexcept;

 private:
  [[nodiscard]] Result<void> plain(Opcode opcode, std::string_view bytes);
  [[nodiscard]] Result<void> compressed(Opcode opcode, std::string_view bytes);
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
  std::unique_ptr<Deflater> deflater_;  // guarded by message_lock_. Null: nothing is compressed

  Mutex frame_lock_;
  // Guarded by frame_lock_.
  bool closed_ = false;
  Error failure_;
  std::array<std::uint8_t, 64> random_{};  // of which the masks are cut
  std::size_t random_left_ = 0;

  std::atomic<bool> failed_{false};  // written under frame_lock_, behind failure_
};

}  // namespace heddle::http::ws
