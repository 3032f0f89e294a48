// A form read whole, files and all: what is small stays in memory, what is large goes to the disk.
//
//   Result<Form> form = read_form(request);
//   if (!form) return static_cast<void>(w.status(status_for(form.error())));
//   for (FormFile& file : form->files) keep(file.filename, file.read_all(1 << 20));
//
//   FormFile  FormFile  FormFile ...        those in memory hold their bytes themselves
//       \        |         /
//       one net::File, bytes one behind the other, closed with the last of them
//
// I1. What goes to the disk has no name there (O_TMPFILE, or unlinked as soon as it is made): nothing is left of it
//     when the last FormFile on it is gone, whatever becomes of the handler or the process. It is one file for all of a
//     form: so a form costs one descriptor, however many files a client puts in it.
// I2. Files are written on helper threads, 64 KiB at a time (net/file.h): an upload holds up no worker.
// I3. Memory per form is bounded: FormOptions::memory, the fields' max_bytes, which names and types of files count for,
//     too, a buffer of some 128 KiB, and some 200 bytes for each of parts.max_parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <heddle/core/error.h>
#include <heddle/http/form.h>
#include <heddle/http/multipart.h>
#include <heddle/net/file.h>

namespace heddle::http {

class Request;

/// How read_form() keeps a form.
struct FormOptions {
  MultipartLimits parts{};
  /// Of all fields without a file name, and the names and types of files, together; and of urlencoded forms.
  FormLimits fields{};
  std::size_t memory_per_file = 64 * 1024;  ///< A longer file goes to the disk.
  std::size_t memory = 1 << 20;             ///< All files in memory together; more go to the disk.
  /// Where files lie while they are read; they have no name there. Empty: $TMPDIR, else /tmp.
  std::string folder{};
};

/// A file of a form: in memory, or on the disk without a name, so that nothing is left of it when the form's files are
/// gone, or the process. Movable. Threads: reading, any goroutines at once.
class FormFile {
 public:
  FormFile() = default;
  FormFile(FormFile&&) noexcept = default;
  FormFile& operator=(FormFile&&) noexcept = default;

  std::string name;          ///< The field's.
  std::string filename;      ///< As MultipartReader::filename().
  std::string content_type;  ///< What the client says; empty: nothing.

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] bool in_memory() const noexcept { return !file_; }

  /// Reads at `offset` until `buf` is full or the file ends. Returns: bytes read. Errors: as net::File::read_at().
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> buf) const;
  /// All of it; kLimit if it is longer than `limit`.
  [[nodiscard]] Result<std::string> read_all(std::size_t limit) const;

 private:
  friend class FormCollector;
  std::uint64_t size_ = 0;
  std::string memory_;
  std::shared_ptr<net::File> file_;  // null: in memory
  std::uint64_t at_ = 0;             // where it begins in *file_
};

/// A form that was read whole.
struct Form {
  FormValues values;            ///< Fields without a file name.
  std::vector<FormFile> files;  ///< The others, in order.
};

/// Reads a body of the type multipart/form-data or application/x-www-form-urlencoded to its end.
///
/// Errors: kUnsupported for a body of another type; those of MultipartReader, read_urlencoded() and net::File. What was
///         read so far is cleaned up. status_for() (status.h) says what to answer.
[[nodiscard]] Result<Form> read_form(Request& request, const FormOptions& options = {});

/// The same over a multipart/form-data body from anywhere.
[[nodiscard]] Result<Form> read_form(MultipartReader& parts, const FormOptions& options = {});

}  // namespace heddle::http
