// FileBody: a file as the body of a response, or as parts of one.
//
//     first piece        read, and written: it goes with the head, and whoever filters bodies decides by it
//     what is between    sendfile(2), if it is worth it and nobody wants to see the bytes; else read and written
//     last piece         read, looked at the file once more, and written
//
// F1. The last piece is written only if the file still has the size and the time that it had when it was opened: so a
//     response of a file that was changed meanwhile is visibly cut: nobody takes a mixture of two versions for a file.
//     What cannot be seen: a change that keeps both; and one that comes after the last look, while the kernel still
//     holds what sendfile(2) gave it, which is the file's own memory.
#pragma once

#include <sys/stat.h>

#include <heddle/http/range.h>
#include <heddle/http/response_writer.h>
#include <heddle/net/file.h>

namespace heddle::http {

class FileBody {
 public:
  /// `as_opened`: what the file was when the response was begun. Lifetime: `writer` and `file` outlive it.
  FileBody(ResponseWriter& writer, net::File& file, const struct stat& as_opened) noexcept
      : writer_(writer), file_(file), as_opened_(as_opened) {}

  /// Writes `range` of the file, which the response's Content-Length has announced. Parks for the disk and the client.
  /// Returns: false if it wrote less: the file, the disk or the client failed, or the file was changed (F1).
  [[nodiscard]] bool write(const ByteRange& range);

 private:
  [[nodiscard]] bool is_as_opened() const noexcept;

  ResponseWriter& writer_;
  net::File& file_;
  const struct stat& as_opened_;
};

}  // namespace heddle::http
