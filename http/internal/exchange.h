// Exchange: what a connection needs while a head is partial or a request runs, and has not while it is idle.
//
// One pooled block holds the parser's state, what the head said, and the bytes: the head (the handler's views point
// into it) and behind it a window for what comes next: the body, or further pipelined heads.
//
//   data  0        begin                read            visible       filled        capacity
//         | gone   | head of the request | taken | unread | not yet seen | free       |
//                  ^ all offsets of the head count from here
//
// Who may touch what: the owner (the home worker while idle or reading a head, else the request's goroutine) everything
// but `filled` and the bytes behind `visible`; those belong to whoever holds the connection's lock while a goroutine
// runs.
//
// I1. Bytes in [begin, visible) do not move while a handler runs: compaction and growth happen between requests or
//     while a head is read, so a Request's views hold until its handler returns.
// I2. Offsets of the head count from `begin`, so moving the bytes to the front leaves them true.
#pragma once

#include <llhttp.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/http/header.h>
#include <heddle/http/internal/pool.h>
#include <heddle/http/method.h>

namespace heddle::http {

/// The sizes that a head is held to; from ServerOptions.
struct HeadLimits {
  std::uint32_t max_target = 8 * 1024;
  std::uint32_t max_head = 32 * 1024;
  std::uint32_t max_headers = 100;
  std::uint64_t max_body = 64 << 20;
  std::uint64_t max_framing = 16 * 1024;
};

enum class BodyKind : std::uint8_t { kNone, kFixed, kChunked };

/// How far a request's body has been read. `fault` is the status that an unanswered request gets for it.
struct Body {
  BodyKind kind = BodyKind::kNone;
  bool done = true;
  bool chunk_begins = false;  // kChunked: its line was read, and none of its data
  std::uint16_t fault = 0;
  Error error;
  std::uint64_t left = 0;            // kFixed: bytes to come
  std::uint64_t received = 0;        // bytes given to the reader
  std::uint64_t framing = 0;         // kChunked: bytes that were not body
  std::uint64_t allowance = 0;       // kChunked: framing that may be, with the chunks whose data has begun
  std::uint64_t limit = UINT64_MAX;  // of the handler's; the server's stands beside it
  // During one decode_body(), for the parser's callback:
  char* out = nullptr;       // where body bytes go
  const char* in = nullptr;  // the first byte given, plus the body bytes since: what lies before a byte is framing
};

/// What the head said. Filled by parse_head().
struct Head {
  Method method = Method::kGet;
  std::uint8_t minor = 1;        // of HTTP/1.x
  bool keep_alive = true;        // the client's wish
  bool expect_continue = false;  // it waits for a 100
  std::uint16_t fault = 0;       // not 0: the status that refuses this head
  std::uint32_t target_at = 0;
  std::uint32_t target_size = 0;
  std::uint32_t path_at = 0;
  std::uint32_t path_size = 0;
  std::uint32_t query_at = 0;
  std::uint32_t query_size = 0;
  std::uint32_t host_at = 0;  // the authority: of an absolute target, else the Host field
  std::uint32_t host_size = 0;
  bool path_escaped = false;
  bool path_is_root = false;  // an absolute target without a path
};

/// The fields behind a chunked body, as they come in pieces. Filled by decode_body().
struct Trailers {
  std::string text;
  std::vector<HeaderList::Ref> refs;  // into text
  bool in_name = false;
};

class Exchange {
 public:
  static constexpr std::uint32_t kInlineHeaders = 32;

  enum class Phase : std::uint8_t {
    kBlank,    // before the request line: a few empty lines may come
    kHead,     // llhttp reads
    kBadLine,  // llhttp refused the request line; its end decides which answer is right
    kBody,     // the head is whole
  };

  [[nodiscard]] static Exchange* take();
  void give() noexcept;

  /// Forgets the request that ended and stands before the next head. Throws nothing, keeps the bytes from `read` on.
  void next_head() noexcept;

  /// Copies as much as there is room for; returns how much. Whoever may touch `filled`.
  std::size_t append(std::span<const std::byte> bytes) noexcept;
  [[nodiscard]] std::uint32_t room() const noexcept { return capacity - filled; }

  /// Moves [begin, filled) to the front. Keeps I1: between requests, or while a head is read.
  void compact() noexcept;
  /// Makes room for a head of up to `limit` bytes in one or two steps; false if it has that already. As compact().
  bool grow(std::uint32_t limit);

  [[nodiscard]] const char* base() const noexcept { return data + begin; }
  [[nodiscard]] std::string_view text(std::uint32_t at, std::uint32_t size) const noexcept {
    return {base() + at, size};
  }
  [[nodiscard]] HeaderList headers() const noexcept { return {base(), refs, header_count}; }

  /// The trailers, once the body is whole.
  [[nodiscard]] HeaderList trailers_seen() const noexcept {
    if (trailers == nullptr || !body.done || body.fault != 0) return {};
    return {trailers->text.data(), trailers->refs.data(), trailers->refs.size()};
  }

  /// Room for one more field, or false at `limit`.
  bool add_header(std::uint32_t limit);

  // ---- bytes ----
  char* data;
  std::uint32_t capacity;
  std::uint32_t begin = 0;
  std::uint32_t scanned = 0;  // the head's parser has seen what lies before
  std::uint32_t read = 0;     // first byte behind the head that nobody has taken
  std::uint32_t visible = 0;
  std::uint32_t filled = 0;
  const HeadLimits* limits = nullptr;

  // ---- the head's parser ----
  Phase phase = Phase::kBlank;
  bool blank_cr = false;
  bool in_value = false;
  bool more_came = false;  // bytes behind the head were there when it was whole: a pipelined request, or a body
  std::uint8_t blank_lines = 0;
  std::uint8_t patched_minor = 0;  // the minor version before we made it 1 for llhttp
  std::uint32_t header_count = 0;
  std::uint32_t header_room = kInlineHeaders;
  HeaderList::Ref* refs = inline_refs;
  Head head;
  Body body;
  llhttp_t parser;
  std::string path;                       // decoded, if it had escapes
  std::unique_ptr<Trailers> trailers;     // of the body; null: none came
  std::shared_ptr<const std::string> id;  // Request::id(); null: none
  std::string_view route;                 // the pattern that the innermost Mux chose; its text is the Mux's

  const CancelFunc* cancel = nullptr;  // of the running request's context; guarded by the connection's lock

 private:
  Exchange() noexcept;
  ~Exchange() = default;

  std::unique_ptr<HeaderList::Ref[]> spilled_refs_;
  std::unique_ptr<char[]> grown_;
  HeaderList::Ref inline_refs[kInlineHeaders];
  // The bytes follow to the end of the pool's block.
};

static_assert(sizeof(Exchange) <= 1280, "leaves 6 KiB and more of the block for bytes");

}  // namespace heddle::http
