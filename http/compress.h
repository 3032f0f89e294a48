// Compression of responses as they are written: gzip, brotli and zstd, by Accept-Encoding.
//
//   mux.use(compress());                    // for all routes that follow
//
// What is compressed: a body of at least min_size bytes, or one that is flushed before; of a Content-Type that it makes
// smaller; for a client that accepts one of the codings. It gets Content-Encoding; its ETag becomes weak, for the bytes
// are others (RFC 9110 s8.8.3.3); Content-Length and Accept-Ranges go; the length is the server's to find. A 304 to the
// tag that was made weak repeats it so.
//
// What is not: 204, 205, 206, 304; what has a Content-Range, a Content-Encoding or a digest of its bytes already; what
// says `Cache-Control: no-transform`, or was asked for so (RFC 9111 s5.2.1.6, s5.2.2.6); what has no Content-Type.
// Whatever could have been compressed says `Vary: Accept-Encoding`, and so does a 206 of it.
//
// HEAD has the fields of GET, but for the length, which is not known then. flush() sends all that was written so far in
// a form that can be decoded at once. A Content-Length that the handler set remains its promise: more is refused, less cuts
// the response.
//
// Compressing what an attacker may choose together with a secret, over TLS, lets the length tell of the secret (BREACH):
// leave such routes out.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/http/mime.h>
#include <heddle/http/mux.h>

namespace heddle::http {

struct CompressOptions {
  /// What is offered: "zstd", "br", "gzip"; among those that a client likes equally, the first.
  std::vector<std::string> codings = {"zstd", "br", "gzip"};

  /// Bodies of fewer bytes go as they are: they fit in a packet anyway.
  std::size_t min_size = 1024;

  /// Which media types; asked with the whole Content-Type. Default: is_compressible().
  std::function<bool(std::string_view)> types = is_compressible;

  // The libraries' levels; these defaults are low, for what is compressed anew for each request. Memory for each response
  // under way: gzip 256 KiB, brotli and zstd about 1 MiB; more at high levels.
  int gzip_level = 6;      ///< 1-9
  int brotli_quality = 4;  ///< 0-11
  int zstd_level = 3;      ///< 1-19
};

/// A middleware that compresses what the handler writes. One may stand in another: nothing is compressed twice.
///
/// Errors: throws std::invalid_argument for a coding or a level that there is not: it is the program that is wrong.
[[nodiscard]] Middleware compress(CompressOptions options = {});

}  // namespace heddle::http
