// Undoing content codings: what a client's response bodies are decoded by.
#pragma once

#include <memory>
#include <string_view>

#include <heddle/net/transport.h>

namespace heddle::http {

/// The codings that decode_coding() knows, as Accept-Encoding lists them.
inline constexpr std::string_view kDecodableCodings = "gzip, br, zstd";

/// A Reader of what the bytes of `encoded` stand for: gzip (RFC 1952; also "x-gzip"), br (RFC 7932), zstd (RFC 8878, windows of
/// at most 8 MiB, RFC 9659). Its memory is that of the coding's window and some KiB, however much comes out: who fears bodies that
/// grow without end limits what they read. One or more gzip members, or zstd frames, in a row are one body; a body of no
/// bytes is empty.
///
/// Returns: null for a coding that it does not know. Throws std::bad_alloc.
/// Errors, of read(): kProtocol if the bytes are not of the coding, or go on behind its end; kEof if they end before it;
///          kNoResources; what `encoded` says. An error stays.
/// Lifetime: `encoded` outlives the Reader. Threads: as other Readers: one goroutine at a time.
[[nodiscard]] std::unique_ptr<net::Reader> decode_coding(std::string_view coding, net::Reader& encoded);

}  // namespace heddle::http
