#include <heddle/core/wait_group.h>
#include <heddle/http/read_form.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "http_test.h"

namespace heddle::http::test {
namespace {

// Bytes that tell where they stand.
std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 2654435761u >> 11);
  return text;
}

std::string field(std::string name, std::string value) {
  return "--b\r\nContent-Disposition: form-data; name=" + name + "\r\n\r\n" + value + "\r\n";
}
std::string file(std::string name, std::string data) {
  return field(name + "; filename=\"" + name + ".bin\"\r\nContent-Type: x/" + name, data);
}

class Folder {
 public:
  Folder() { EXPECT_NE(::mkdtemp(path_.data()), nullptr); }
  ~Folder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool empty() const { return std::filesystem::is_empty(path_); }

  /// Descriptors of this process that are open on files in it, with names or without.
  [[nodiscard]] int open_files() const {
    int n = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;  // others open and close theirs meanwhile
      n += std::filesystem::read_symlink(entry, gone).string().starts_with(path_ + "/");
    }
    return n;
  }

 private:
  std::string path_ = "/tmp/heddle-form-XXXXXX";
};

Result<Form> read(std::string body, const FormOptions& options) {
  std::size_t at = 0;
  MultipartReader parts(
      [&](std::span<std::byte> to) -> Result<std::size_t> {
        const std::size_t n = std::min({to.size(), body.size() - at, std::size_t{4096}});
        std::ranges::copy(std::as_bytes(std::span(body)).subspan(at, n), to.begin());
        at += n;
        return n;
      },
      "b", options.parts);
  return read_form(parts, options);
}

TEST(ReadForm, small_files_stay_in_memory_and_large_ones_go_to_the_disk) {
  run([] {
    Folder folder;
    const FormOptions options{.memory_per_file = 1000, .memory = 2500, .folder = folder.path()};
    std::string body = field("v", "1") + field("v", "2");
    const std::vector<std::size_t> sizes{0, 1000, 1001, 999, 700, 501, 500, 64 * 1024, 200'003};
    for (std::size_t i = 0; i < sizes.size(); ++i) body += file("f" + std::to_string(i), pattern(sizes[i]));
    Result<Form> form = read(body + "--b--", options);
    ASSERT_TRUE(form) << form.error().message();
    EXPECT_EQ(form->values.all("v"), (std::vector<std::string_view>{"1", "2"}));
    ASSERT_EQ(form->files.size(), sizes.size());
    // 1000 + 999 fill the memory up to 501: not 700, but 501, and nothing after that.
    const std::vector<bool> in_memory{true, true, false, true, false, true, false, false, false};
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      FormFile& f = form->files[i];
      EXPECT_EQ(f.name, "f" + std::to_string(i)) << i;
      EXPECT_EQ(f.filename, f.name + ".bin") << i;
      EXPECT_EQ(f.content_type, "x/" + f.name) << i;
      EXPECT_EQ(f.size(), sizes[i]) << i;
      EXPECT_EQ(f.in_memory(), in_memory[i]) << i;
      EXPECT_TRUE(f.read_all(sizes[i]).value() == pattern(sizes[i])) << i;
      if (sizes[i] > 0) {
        EXPECT_EQ(f.read_all(sizes[i] - 1).error().code, Code::kLimit) << i;
      }
      std::array<std::byte, 10> some;
      const std::size_t from = sizes[i] - std::min<std::size_t>(sizes[i], 4);
      EXPECT_EQ(f.read_at(from, some).value(), sizes[i] - from) << i;
      EXPECT_EQ(f.read_at(sizes[i] + 1, some).value(), 0u) << i;
    }
    EXPECT_TRUE(folder.empty());  // they have no names
  });
}

TEST(ReadForm, descriptors_go_with_the_form) {
  run([] {
    Folder folder;
    const FormOptions options{.memory_per_file = 0, .folder = folder.path()};
    {
      Result<Form> form = read(file("f", "data") + "--b--", options);
      ASSERT_TRUE(form);
      EXPECT_FALSE(form->files[0].in_memory());
      EXPECT_EQ(folder.open_files(), 1);
      Form moved = std::move(*form);
      EXPECT_EQ(moved.files[0].read_all(10).value(), "data");
    }
    EXPECT_EQ(folder.open_files(), 0);
    // A form that breaks off leaves nothing either.
    EXPECT_EQ(read(file("f", "data") + "--bx", options).error().code, Code::kProtocol);
    EXPECT_EQ(read(file("f", "data") + file("g", "x"), options).error().code, Code::kProtocol);
    EXPECT_EQ(read(file("f", pattern(200'000)), options).error().code, Code::kProtocol);
    FormOptions small = options;
    small.parts.max_part_bytes = 100'000;
    EXPECT_EQ(read(file("f", pattern(200'000)) + "--b--", small).error().code, Code::kLimit);
    EXPECT_EQ(folder.open_files(), 0);
    EXPECT_TRUE(folder.empty());
  });
}

// A form of a thousand files took a thousand descriptors.
TEST(ReadForm, any_number_of_files_takes_one_descriptor) {
  run([] {
    Folder folder;
    std::string body;
    for (int i = 0; i < 200; ++i) body += file("f" + std::to_string(i), pattern(static_cast<std::size_t>(i)));
    Result<Form> form = read(body + "--b--", {.memory_per_file = 1, .folder = folder.path()});
    ASSERT_TRUE(form);
    EXPECT_EQ(folder.open_files(), 1);
    std::vector<FormFile> files = std::move(form->files);
    WaitGroup readers;
    for (std::size_t i = 0; i < files.size(); ++i) {
      readers.go([&files, i] {
        EXPECT_TRUE(files[i].read_all(i).value() == pattern(i)) << i;
        // Nothing of the next one.
        std::array<std::byte, 300> some;
        EXPECT_EQ(files[i].read_at(0, some).value(), i);
        EXPECT_EQ(files[i].read_at(i, some).value(), 0u);
        EXPECT_EQ(files[i].read_at(~std::uint64_t{0}, some).value(), 0u);
      });
    }
    readers.wait();
    // The last one holds it.
    FormFile last = std::move(files.back());
    files.clear();
    EXPECT_EQ(folder.open_files(), 1);
    EXPECT_TRUE(last.read_all(1000).value() == pattern(199));
    last = FormFile();
    EXPECT_EQ(folder.open_files(), 0);
  });
}

TEST(ReadForm, limits_hold) {
  run([] {
    const std::string body = field("a", "12345") + field("b", "123") + file("f", "1234567") + "--b--";
    auto code = [&](const FormOptions& options) {
      const Result<Form> form = read(body, options);
      return form ? Code::kOk : form.error().code;
    };
    // Names and values, then "f", "f.bin" and "x/f".
    EXPECT_EQ(code({.fields = {.max_bytes = 10 + 9, .max_pairs = 2}}), Code::kOk);
    EXPECT_EQ(code({.fields = {.max_bytes = 10 + 8}}), Code::kLimit);
    EXPECT_EQ(code({.fields = {.max_bytes = 9}}), Code::kLimit);
    EXPECT_EQ(code({.fields = {.max_pairs = 1}}), Code::kLimit);
    EXPECT_EQ(code({.parts = {.max_part_bytes = 7}}), Code::kOk);
    EXPECT_EQ(code({.parts = {.max_part_bytes = 6}}), Code::kLimit);
    EXPECT_EQ(code({.parts = {.max_parts = 3}}), Code::kOk);
    EXPECT_EQ(code({.parts = {.max_parts = 2}}), Code::kLimit);
    EXPECT_EQ(code({.memory_per_file = 1, .folder = "/nowhere/at/all"}), Code::kNotFound);
  });
}

TEST(ReadForm, a_request_may_carry_either_kind) {
  on_one_p([] {
    Rig rig([](Request& r, ResponseWriter& w) {
      Result<Form> form = read_form(r, {.memory_per_file = 3});
      if (!form) return static_cast<void>(w.status(status_for(form.error())));
      std::string text(form->values.find("a").value_or("none"));
      for (FormFile& f : form->files) text += "," + f.read_all(100).value() + (f.in_memory() ? "" : "!");
      w.write(text);
    });
    auto post = [&](std::string type, std::string body) {
      rig.stream.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: " + type +
                      "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
      // A file on the disk takes helper threads: settle() does not know of those.
      const std::size_t before = rig.responses().size();
      EXPECT_TRUE(rig.stream.pump_until([&] { return rig.responses().size() > before; }));
      return rig.responses().back();
    };
    EXPECT_EQ(post("multipart/form-data; boundary=b", field("a", "1") + file("f", "abc") + file("g", "abcd") + "--b--"),
              "200 cl=11 [1,abc,abcd!]");
    EXPECT_EQ(post("application/x-www-form-urlencoded", "b=1&a=x+y"), "200 cl=3 [x y]");
    EXPECT_EQ(post("text/plain", "a=1"), "415 cl=0 []");
    EXPECT_EQ(post("multipart/form-data; boundary=b", field("a", "1")), "400 cl=0 []");
  });
}

}  // namespace
}  // namespace heddle::http::test
