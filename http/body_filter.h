// BodyFilter: what stands between a handler and the body of its response. A middleware makes one on its stack.
//
//   handler --write--> inner filter --write--> outer filter --write--> ResponseWriter --> the connection
//
//   class Count final : public BodyFilter { … };
//   return [next](Request& request, ResponseWriter& writer) {
//     Count count(writer);          // from here on next's writes go through it
//     next(request, writer);
//     count.leave();                // and from here on no longer: what it still holds it may write itself
//   };
//
// F1. While a filter is called, the writer that it is given is what is outside of it: its own writes and flushes go on to
//     the next filter or to the connection, and it may set the fields as long as it has not written, although for the
//     handler they are fixed since its first write.
// F2. A filter leaves in the opposite order in which filters came, at the latest when it is destroyed: also when the
//     handler throws, before the server answers for it.
#pragma once

#include <string_view>

#include <heddle/core/error.h>
#include <heddle/http/response_writer.h>

namespace heddle::http {

class BodyFilter {
 public:
  BodyFilter(const BodyFilter&) = delete;
  BodyFilter& operator=(const BodyFilter&) = delete;

 protected:
  /// Puts itself between the handler and all that stands there already. Lifetime: `writer` outlives it.
  explicit BodyFilter(ResponseWriter& writer) noexcept;
  virtual ~BodyFilter() { leave(); }

  /// Stands there no more. Idempotent.
  void leave() noexcept;

  /// Promises that whatever the handler does from here on would be passed on as it is: then the kernel may send parts
  /// of files past the filter. What it still held it has passed on.
  void pass_all() noexcept { passes_ = true; }

 private:
  friend class ResponseWriter;

  /// The handler wrote: pass on what is to be sent, with writer.write(), or keep it. Errors: what the handler gets.
  virtual Result<void> write(ResponseWriter& writer, std::string_view bytes) = 0;
  /// The handler wants to be sent what it wrote so far: pass that on, and writer.flush().
  virtual Result<void> flush(ResponseWriter& writer) = 0;
  /// Nothing of what it passed on was sent, and the response begins anew (ResponseWriter::rewind()): be as you were made.
  virtual void forget() noexcept = 0;

  ResponseWriter& writer_;
  BodyFilter* outer_;    // the next on the way out
  bool began_ = false;   // the handler has written, or flushed
  bool passes_ = false;  // pass_all()
  bool there_ = true;
};

}  // namespace heddle::http
