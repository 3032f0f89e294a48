// How the bytes of files go out: read and written, or by the kernel; in pieces, to peers that take little, vanish or want
// them compressed, out of files that change.
#include <heddle/http/static_files.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include <heddle/http/compress.h>

#include "ask.h"

namespace heddle::http::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSize = 500'000;

std::string numbers(std::size_t size, char mark = ' ') {
  std::string text;
  for (std::size_t i = 0; text.size() < size; ++i) text += std::to_string(i) + mark;
  text.resize(size);
  return text;
}

/// A folder with one large file in it.
class SendFiles : public testing::Test {
 protected:
  SendFiles() {
    std::string name = (fs::temp_directory_path() / "heddle-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    root_ = name;
    put("big.bin", numbers(kSize));
  }
  ~SendFiles() override {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }

  void put(const std::string& name, const std::string& text, std::int64_t time = 784'111'777) const {
    const std::string path = root_ + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    const timespec times[2] = {{time, 0}, {time, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }

  // Of the whole file, in a connection that can send out of files. `during(stream)` is called when the client has taken
  // 100'000 bytes and takes no more.
  template <class During>
  Answer get(const Handler& handler, const std::string& fields, During during) {
    Answer answer;
    on_one_p([&] {
      Rig rig(handler);
      rig.stream.allow_files();
      rig.stream.take_in_all(100'000);
      rig.stream.send("GET /big.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + fields + "\r\n");
      const auto ended = [&] { return rig.stream.shut() || rig.stream.closed(); };
      EXPECT_TRUE(rig.stream.pump_until([&] { return rig.stream.written().size() == 100'000 || ended(); }));
      during(rig.stream);
      rig.stream.take_in_all(MemoryStream::kNoLimit);
      EXPECT_TRUE(rig.stream.pump_until(ended));
      by_kernel_ = rig.stream.out_of_files();
      answer = take_apart(rig.stream.written(), false);
    });
    return answer;
  }
  Answer get(const Handler& handler, const std::string& fields = {}) {
    return get(handler, fields, [](MemoryStream&) {});
  }
  [[nodiscard]] Handler site() const { return *static_files(root_); }

  std::string root_;
  std::size_t by_kernel_ = 0;  // bytes of the last answer
};

TEST_F(SendFiles, a_large_file_goes_by_the_kernel_byte_for_byte) {
  const Answer answer = get(site());
  EXPECT_TRUE(answer.whole);
  EXPECT_EQ(answer.body, numbers(kSize));
  EXPECT_GT(by_kernel_, kSize / 2);
}

TEST_F(SendFiles, a_peer_that_takes_little_gets_it_all) {
  const Answer answer = get(site(), {}, [](MemoryStream& stream) { stream.take_per_write(777); });
  EXPECT_TRUE(answer.whole);
  EXPECT_EQ(answer.body, numbers(kSize));
  EXPECT_GT(by_kernel_, kSize / 2);
}

TEST_F(SendFiles, ranges_go_by_the_kernel_too) {
  const Answer one = get(site(), "Range: bytes=1234-400000\r\n");
  EXPECT_EQ(one.status, 206);
  EXPECT_TRUE(one.whole);
  EXPECT_EQ(one.body, numbers(kSize).substr(1234, 400'001 - 1234));
  EXPECT_GT(by_kernel_, kSize / 2);
  const Answer several = get(site(), "Range: bytes=300000-,0-199999\r\n");
  EXPECT_EQ(several.status, 206);
  EXPECT_TRUE(several.whole);
  const std::size_t first = several.body.find("\r\n\r\n") + 4;
  EXPECT_EQ(several.body.substr(first, 200'000), numbers(kSize).substr(300'000));
  const std::size_t second = several.body.find("\r\n\r\n", first) + 4;
  EXPECT_EQ(several.body.substr(second, 200'000), numbers(kSize).substr(0, 200'000));
  EXPECT_GT(by_kernel_, kSize / 2);
}

TEST_F(SendFiles, a_connection_goes_on_after_it) {
  on_one_p([&] {
    Rig rig(site());
    rig.stream.allow_files();
    const std::string request = "GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n";
    rig.stream.send(request + request);
    rig.stream.settle();
    const std::string written = rig.stream.written();
    ASSERT_EQ(written.size() % 2, 0U);
    for (const std::size_t begin : {std::size_t{0}, written.size() / 2}) {
      EXPECT_EQ(take_apart(std::string_view(written).substr(begin, written.size() / 2), false).body, numbers(kSize));
    }
    EXPECT_GT(rig.stream.out_of_files(), kSize);
  });
}

TEST_F(SendFiles, small_files_and_heads_need_no_kernel) {
  put("big.bin", numbers(60'000));
  EXPECT_EQ(get(site()).body, numbers(60'000));
  EXPECT_EQ(by_kernel_, 0U);
  on_one_p([&] {
    Rig rig(site());
    rig.stream.allow_files();
    rig.stream.send("HEAD /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.stream.settle();
    EXPECT_EQ(rig.stream.out_of_files(), 0U);
    EXPECT_TRUE(take_apart(rig.stream.written(), true).whole);
  });
}

TEST_F(SendFiles, a_file_that_changes_meanwhile_is_visibly_cut) {
  const std::string path = root_ + "/big.bin";
  const Answer shorter = get(site(), {}, [&](MemoryStream&) { fs::resize_file(path, 200'000); });
  EXPECT_EQ(shorter.field("Content-Length"), std::to_string(kSize));
  EXPECT_FALSE(shorter.whole);
  EXPECT_LE(shorter.body.size(), 200'000U);
  EXPECT_EQ(shorter.body, numbers(kSize).substr(0, shorter.body.size()));
  EXPECT_GT(by_kernel_, 0U);
  put("big.bin", numbers(kSize));
  const Answer other = get(site(), {}, [&](MemoryStream&) { put("big.bin", numbers(kSize, ','), 784'111'778); });
  EXPECT_FALSE(other.whole);
  put("big.bin", numbers(kSize));
  const Answer replaced = get(site(), {}, [&](MemoryStream&) {
    put("new", numbers(kSize, ','));
    fs::rename(root_ + "/new", path);
  });
  EXPECT_TRUE(replaced.whole);  // the old one, to its end
  EXPECT_EQ(replaced.body, numbers(kSize));
}

TEST_F(SendFiles, a_peer_that_goes_away_ends_it) {
  on_one_p([&] {
    Rig rig(site());
    rig.stream.allow_files();
    rig.stream.take_in_all(100'000);
    rig.stream.send("GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_TRUE(rig.stream.pump_until([&] { return rig.stream.written().size() == 100'000; }));
    rig.stream.end(Code::kReset);
    EXPECT_TRUE(rig.stream.pump_until([&] { return rig.stream.gone(); }));
  });
}

TEST_F(SendFiles, a_middleware_sees_the_bytes_that_it_wants_to_see) {
  StaticFilesOptions as_text;
  as_text.types.set("bin", "text/plain");
  const Answer squeezed = get(compress()(*static_files(root_, as_text)), "Accept-Encoding: gzip\r\n");
  EXPECT_EQ(squeezed.field("Content-Encoding"), "gzip");
  EXPECT_TRUE(squeezed.whole);
  EXPECT_EQ(by_kernel_, 0U);
  StaticFilesOptions as_image;
  as_image.types.set("bin", "image/png");
  const Answer plain = get(compress()(compress()(*static_files(root_, as_image))), "Accept-Encoding: gzip\r\n");
  EXPECT_EQ(plain.body, numbers(kSize));
  EXPECT_GT(by_kernel_, kSize / 2);
}

}  // namespace
}  // namespace heddle::http::test
