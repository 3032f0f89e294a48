// Files of a folder as resources.
//
//   auto files = static_files("/srv/www");
//   if (!files) …                                            // no such folder
//   mux.handle("GET /static/{file...}", *files);
//
// S1. Nothing but regular files beneath the folder is served, whatever the request says: the kernel walks the path and
//     lets it not leave (openat2(2), RESOLVE_BENEATH), and "..", escaped slashes and the like are refused before. Symbolic
//     links are refused unless allowed, and then followed only as far as they stay beneath the folder. Names that
//     begin with a dot (.git, .env) are 404 unless allowed.
// S2. A response is of one version of a file. It is announced with its length when it begins; if the file is changed or
//     cut while it is being sent, the response is cut, too, visibly. (A change that keeps size and time cannot be seen,
//     nor one of what the kernel holds already and has not sent: so replace files by renaming a new one onto them.)
// S3. A name never causes a 5xx: it is there, or 404, or 403 where the process may not read it.
//
// GET and HEAD, else 405. Conditions (conditional.h) by ETag and Last-Modified; ranges (range.h), single and several,
// for GET. The ETag is strong, of time, size and inode. A folder without its slash is redirected; with it, its
// index.html is served, else a list if that is allowed, else 404.
//
// Large files go by sendfile(2), unless a middleware wants to see their bytes (body_filter.h) or the connection cannot.
// Reading waits for the disk on helper threads, never on the goroutine's own (net/file.h).
#pragma once

#include <string>

#include <heddle/core/error.h>
#include <heddle/http/mime.h>
#include <heddle/http/server.h>

namespace heddle::http {

struct StaticFilesOptions {
  /// The name in the Mux's pattern that stands for the path of the file: {file...}. Where the pattern has none, or
  /// there is no Mux, it is the request's whole path.
  std::string path_name = "file";

  std::string index = "index.html";  ///< The file that stands for its folder. Empty: none does.
  bool list_folders = false;         ///< A folder without index is shown as a list of its names; else it is 404.
  bool dotfiles = false;             ///< Serve (and list) names that begin with a dot. /.well-known/ needs it.
  bool follow_links = false;         ///< Follow symbolic links within the folder. Not before Linux 5.6.

  /// Serve x.br, x.zst or x.gz in place of x, with its Content-Encoding, to clients that accept it, if it is there and
  /// not older than x. Every file's response then varies by Accept-Encoding, and says so.
  bool precompressed = false;

  MediaTypes types;           ///< Content-Type by extension. It comes with `X-Content-Type-Options: nosniff`.
  std::string cache_control;  ///< Cache-Control of 200, 206 and 304: "public, max-age=3600". Empty: none.
};

/// A handler that serves the files beneath `folder`, which is opened now: another one that takes its name later is not
/// seen. The handler may be copied, used by any number of goroutines, and in several run()s one after the other.
///
/// Errors: as open(2) of the folder; kInvalid for a name with a NUL, or an index that is no single name.
///         Throws std::bad_alloc.
[[nodiscard]] Result<Handler> static_files(const std::string& folder, StaticFilesOptions options = {});

}  // namespace heddle::http
