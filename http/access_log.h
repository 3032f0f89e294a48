// The access log: a line for every request, written by a thread of its own.
//
//   auto log = AccessLog::open({.path = "access.log"});        // JSON lines
//   options.on_request_done = access_log(*log);
//
//   on_request_done --line--> shard (its lock, a buffer of fixed size) --swap--> the writer --one write for many lines--> file
//                                  '-- full: the line is dropped and counted
//
// I1. A request never waits for the file: it holds a shard's lock for a copy of its line, or to find that there is no room.
// I2. What waits to be written is bounded (AccessLogOptions::buffer); a line is written whole or not at all.
// I3. No byte that a client chose can end a line or forge a field: controls, quotes, backslashes and all that is not ASCII
//     are escaped, in both formats.
// I4. Lines of one shard keep their order. Those of different shards may change places within some milliseconds: each has
//     its time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <heddle/core/error.h>
#include <heddle/http/request_record.h>

namespace heddle::http {

enum class AccessLogFormat : std::uint8_t {
  /// {"time":"2026-11-21T02:47:38.123456Z","client":"192.0.2.1:40312","method":"GET","target":"/a","protocol":"HTTP/1.1",
  /// "status":200,"sent":150,"received":80,"us":412,"first_us":400,"agent":"curl/8","referer":"…","id":"…","route":"…",
  /// "outcome":"whole"}. Over a Unix socket "client" is who has connected, "unix:uid=1000,pid=4711". Members without a value are left out. "outcome" is "whole", "cut" (the server gave it up), or
  /// "gone" (the client did); "refused":true stands there if no handler saw the request.
  kJson,
  /// 192.0.2.1:40312 [2026-11-21T02:47:38.123456Z] "GET /a HTTP/1.1" 200 150 80 412 400 "curl/8" "-" id=- route="-" whole
  kText,
};

struct AccessLogOptions {
  std::string path =
      "-";  ///< "-": standard output. A file is appended to, and made if there is none; its folder is not.
  AccessLogFormat format = AccessLogFormat::kJson;
  /// Bytes of lines that wait to be written, at least 256 KiB; that much memory is taken at once. More are dropped, and so is
  /// a line longer than an eighth of it: bounds what a slow disk costs.
  std::size_t buffer = 4 << 20;
  std::size_t max_target =
      2048;  ///< Bytes of a target, agent or referer that are logged; what is longer ends in "...".
};

/// A line as the log has it, without its end. For logs of one's own.
[[nodiscard]] std::string access_line(const RequestRecord& record, AccessLogFormat format,
                                      std::size_t max_target = 2048);

class AccessLog {
 public:
  /// Errors: kInvalid for a buffer that is too small; the errno of opening the file. Throws std::bad_alloc.
  [[nodiscard]] static Result<std::shared_ptr<AccessLog>> open(const AccessLogOptions& options);
  /// Writes what waits. Blocks its thread for as long as that takes.
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  /// Never waits for the file. Threads: goroutines, any number at once.
  void write(const RequestRecord& record);

  /// Lines for which there was no room, or no memory.
  [[nodiscard]] std::uint64_t dropped() const noexcept;

  /// Blocks its thread until what was written before this call is in the file. Threads: any, best inside blocking().
  void flush();

 private:
  struct Inside;
  explicit AccessLog(std::unique_ptr<Inside> inside) noexcept;

  const std::unique_ptr<Inside> inside_;
};

/// For ServerOptions::on_request_done. It shares the log.
[[nodiscard]] std::function<void(const RequestRecord&)> access_log(std::shared_ptr<AccessLog> log);

}  // namespace heddle::http
