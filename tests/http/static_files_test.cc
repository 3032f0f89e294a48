// Files beneath a folder: fields, conditions, ranges, variants, lists, and every way out that was thought of.
#include <heddle/http/static_files.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <heddle/http/date.h>
#include <heddle/http/internal/beneath.h>
#include <heddle/http/internal/folder_page.h>
#include <heddle/http/mux.h>

#include "ask.h"

namespace heddle::http::test {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kThen = 784'111'777;  // Sun, 06 Nov 1994 08:49:37 GMT

/// A folder with files in it, and one beside it that must never be seen.
class StaticFiles : public testing::Test {
 protected:
  StaticFiles() {
    std::string name = (fs::temp_directory_path() / "heddle-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    top_ = name;
    root_ = top_ + "/www";
    fs::create_directories(root_ + "/sub/deep");
    put("a.txt", "0123456789");
    put("index.html", "<p>index");
    put("sub/b.json", "{}");
    put("sub/deep/c d.html", "deep");
    put("empty.txt", "");
    put(".env", "SECRET");
    put("../secret.txt", "SECRET");
  }
  ~StaticFiles() override {
    std::error_code ignored;
    fs::remove_all(top_, ignored);
  }

  void put(const std::string& path, const std::string& text, std::int64_t time = kThen) const {
    std::ofstream(root_ + "/" + path, std::ios::binary) << text;
    set_time(path, time);
  }
  void set_time(const std::string& path, std::int64_t time) const {
    const timespec times[2] = {{time, 0}, {time, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (root_ + "/" + path).c_str(), times, 0), 0);
  }

  [[nodiscard]] Handler site(const StaticFilesOptions& options = {}) const {
    Result<Handler> handler = static_files(root_, options);
    if (!handler) std::abort();
    Mux mux;
    mux.handle("GET /s/{file...}", *handler);
    return mux;
  }
  [[nodiscard]] Answer get(const std::string& path, const std::string& fields = {},
                           const StaticFilesOptions& options = {}) const {
    return ask(site(options), "GET " + path, fields);
  }

  std::string top_;
  std::string root_;
};

// ---- fields ----

TEST_F(StaticFiles, a_file_comes_with_type_length_and_validators) {
  const Answer answer = get("/s/a.txt");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "0123456789");
  EXPECT_TRUE(answer.whole);
  EXPECT_EQ(answer.field("Content-Length"), "10");
  EXPECT_EQ(answer.field("Content-Type"), "text/plain; charset=utf-8");
  EXPECT_EQ(answer.field("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(answer.field("Last-Modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(answer.field("Accept-Ranges"), "bytes");
  EXPECT_EQ(answer.field("ETag").front(), '"');
  EXPECT_EQ(answer.field("ETag").back(), '"');
  for (const char* name : {"Vary", "Cache-Control", "Content-Encoding", "Content-Range"})
    EXPECT_FALSE(answer.has(name));
  EXPECT_EQ(get("/s/sub/deep/c%20d.html").body, "deep");
  EXPECT_EQ(get("/s/sub/b.json").field("Content-Type"), "application/json");
}

TEST_F(StaticFiles, head_has_the_fields_of_get_and_no_body) {
  Answer of_get = get("/s/a.txt");
  const Answer of_head = ask(site(), "HEAD /s/a.txt");
  EXPECT_EQ(of_head.status, 200);
  EXPECT_EQ(of_head.body, "");
  of_get.fields["Date"] = of_head.field("Date");
  EXPECT_EQ(of_get.fields, of_head.fields);
}

TEST_F(StaticFiles, an_empty_file_is_whole) {
  const Answer answer = get("/s/empty.txt");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.field("Content-Length"), "0");
  EXPECT_TRUE(answer.whole);
}

TEST_F(StaticFiles, a_large_file_arrives_byte_for_byte) {
  std::string text;
  for (int i = 0; text.size() < 300'000; ++i) text += std::to_string(i) + ' ';
  put("big.bin", text);
  const Answer answer = get("/s/big.bin");
  EXPECT_TRUE(answer.whole);
  EXPECT_EQ(answer.body, text);
  EXPECT_EQ(get("/s/big.bin", "Range: bytes=100000-299000\r\n").body, text.substr(100'000, 199'001));
}

TEST_F(StaticFiles, options_set_types_and_caching) {
  StaticFilesOptions options;
  options.types.set("txt", "text/x-own");
  options.cache_control = "public, max-age=60";
  options.index = "a.txt";
  const Answer answer = get("/s/", {}, options);
  EXPECT_EQ(answer.field("Content-Type"), "text/x-own");
  EXPECT_EQ(answer.field("Cache-Control"), "public, max-age=60");
  const Answer same = get("/s/a.txt", "If-None-Match: *\r\n", options);
  EXPECT_EQ(same.status, 304);
  EXPECT_EQ(same.field("Cache-Control"), "public, max-age=60");
  EXPECT_FALSE(get("/s/none", {}, options).has("Cache-Control"));
}

TEST_F(StaticFiles, other_methods_are_not_allowed) {
  const Result<Handler> bare = static_files(root_);
  const Answer answer = ask(*bare, "DELETE /a.txt");
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.field("Allow"), "GET, HEAD");
  EXPECT_EQ(ask(*bare, "OPTIONS *").status, 405);
}

TEST_F(StaticFiles, without_a_mux_the_whole_path_is_the_file) {
  const Result<Handler> bare = static_files(root_);
  EXPECT_EQ(ask(*bare, "GET /a.txt").body, "0123456789");
  EXPECT_EQ(ask(*bare, "GET http://h/a.txt?x").body, "0123456789");
  EXPECT_EQ(ask(*bare, "GET /").body, "<p>index");
  EXPECT_EQ(ask(*bare, "GET http://h").body, "<p>index");
}

TEST_F(StaticFiles, what_is_no_folder_has_no_handler) {
  EXPECT_EQ(static_files(root_ + "/none").error().code, Code::kNotFound);
  EXPECT_EQ(static_files(root_ + "/a.txt").error().sys, ENOTDIR);
  EXPECT_EQ(static_files(std::string("/\0x", 3)).error().code, Code::kInvalid);
  StaticFilesOptions options;
  for (const char* index : {"a/b", "..", "."}) {
    options.index = index;
    EXPECT_EQ(static_files(root_, options).error().code, Code::kInvalid) << index;
  }
}

// ---- conditions ----

TEST_F(StaticFiles, conditions_are_heeded) {
  const std::string etag = get("/s/a.txt").field("ETag");
  const Answer same = get("/s/a.txt", "If-None-Match: \"x\", W/" + etag + "\r\n");
  EXPECT_EQ(same.status, 304);
  EXPECT_EQ(same.field("ETag"), etag);
  EXPECT_TRUE(same.has("Date"));
  EXPECT_FALSE(same.has("Content-Length"));
  EXPECT_EQ(ask(site(), "HEAD /s/a.txt", "If-None-Match: " + etag + "\r\n").status, 304);
  EXPECT_EQ(get("/s/a.txt", "If-None-Match: \"x\"\r\n").status, 200);
  EXPECT_EQ(get("/s/a.txt", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n").status, 304);
  EXPECT_EQ(get("/s/a.txt", "If-Modified-Since: Sunday, 06-Nov-94 08:49:36 GMT\r\n").status, 200);
  EXPECT_EQ(get("/s/a.txt", "If-Match: \"x\"\r\n").status, 412);
  EXPECT_EQ(get("/s/a.txt", "If-Match: " + etag + "\r\n").status, 200);
  EXPECT_EQ(get("/s/a.txt", "If-Unmodified-Since: Sun Nov  6 08:49:36 1994\r\n").status, 412);
  EXPECT_EQ(get("/s/none", "If-Match: \"x\"\r\nIf-None-Match: *\r\n").status, 404);
}

TEST_F(StaticFiles, another_version_has_another_tag) {
  const std::string first = get("/s/a.txt").field("ETag");
  put("a.txt", "0123456789", kThen + 1);
  const std::string second = get("/s/a.txt").field("ETag");
  put("a.txt", "012345678", kThen + 1);
  const std::string third = get("/s/a.txt").field("ETag");
  put("new", "012345678", kThen + 1);
  fs::rename(root_ + "/new", root_ + "/a.txt");
  const std::string fourth = get("/s/a.txt").field("ETag");
  EXPECT_NE(first, second);
  EXPECT_NE(second, third);
  EXPECT_NE(third, fourth);
}

TEST_F(StaticFiles, times_beyond_the_calendar_are_told_as_dates) {
  for (const std::int64_t time : {-5'000'000'000'000L, -1L, 9'000'000'000'000L}) {  // the file system may bend them
    set_time("a.txt", time);
    const Answer answer = get("/s/a.txt");
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(parse_date(answer.field("Last-Modified"))) << answer.field("Last-Modified");
  }
}

TEST_F(StaticFiles, no_file_is_younger_than_its_response) {
  set_time("a.txt", 4'000'000'000);
  const Answer answer = get("/s/a.txt");
  EXPECT_LE(*parse_date(answer.field("Last-Modified")), *parse_date(answer.field("Date")) + std::chrono::seconds(1));
}

// ---- ranges ----

TEST_F(StaticFiles, a_range_is_sent_alone) {
  const Answer answer = get("/s/a.txt", "Range: bytes=2-4\r\n");
  EXPECT_EQ(answer.status, 206);
  EXPECT_EQ(answer.body, "234");
  EXPECT_TRUE(answer.whole);
  EXPECT_EQ(answer.field("Content-Range"), "bytes 2-4/10");
  EXPECT_EQ(answer.field("Content-Type"), "text/plain; charset=utf-8");
  EXPECT_TRUE(answer.has("ETag"));
  EXPECT_EQ(get("/s/a.txt", "Range: bytes=7-\r\n").body, "789");
  EXPECT_EQ(get("/s/a.txt", "Range: bytes=-1\r\n").body, "9");
  EXPECT_EQ(get("/s/a.txt", "Range: bytes=0-4,2-7\r\n").field("Content-Range"), "bytes 0-7/10");
}

TEST_F(StaticFiles, several_ranges_are_parts_of_one_body) {
  const Answer answer = get("/s/a.txt", "Range: bytes=0-1,-2, 4-4\r\n");
  EXPECT_EQ(answer.status, 206);
  EXPECT_TRUE(answer.whole);
  EXPECT_FALSE(answer.has("Content-Range"));
  const std::string type = answer.field("Content-Type");
  const std::string prefix = "multipart/byteranges; boundary=";
  ASSERT_EQ(type.substr(0, prefix.size()), prefix);
  const std::string line = "--" + type.substr(prefix.size());
  const auto part = [](const std::string& range, const std::string& text) {
    return "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes " + range + "/10\r\n\r\n" + text;
  };
  EXPECT_EQ(answer.body, line + part("0-1", "01") + "\r\n" + line + part("8-9", "89") + "\r\n" + line +
                             part("4-4", "4") + "\r\n" + line + "--\r\n");
  EXPECT_NE(get("/s/a.txt", "Range: bytes=0-1,4-4\r\n").field("Content-Type"), type);
}

TEST_F(StaticFiles, ranges_that_cannot_be_had_are_416_or_ignored) {
  const Answer answer = get("/s/a.txt", "Range: bytes=10-\r\n");
  EXPECT_EQ(answer.status, 416);
  EXPECT_EQ(answer.field("Content-Range"), "bytes */10");
  EXPECT_TRUE(answer.whole);
  EXPECT_EQ(get("/s/a.txt", "Range: bytes=4-2\r\n").status, 200);
  EXPECT_EQ(get("/s/a.txt", "Range: lines=0-1\r\n").status, 200);
  EXPECT_EQ(get("/s/a.txt", "Range: bytes=0-1\r\nRange: bytes=4-5\r\n").status, 200);
  EXPECT_EQ(get("/s/empty.txt", "Range: bytes=0-\r\n").field("Content-Range"), "bytes */0");
  EXPECT_EQ(get("/s/empty.txt", "Range: bytes=-1\r\n").status, 200);
  const Answer head = ask(site(), "HEAD /s/a.txt", "Range: bytes=0-1\r\n");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.field("Content-Length"), "10");
}

TEST_F(StaticFiles, ranges_come_after_all_conditions) {
  const std::string etag = get("/s/a.txt").field("ETag");
  const std::string range = "Range: bytes=0-1\r\n";
  EXPECT_EQ(get("/s/a.txt", range + "If-Range: " + etag + "\r\n").status, 206);
  EXPECT_EQ(get("/s/a.txt", range + "If-Range: W/" + etag + "\r\n").status, 200);
  EXPECT_EQ(get("/s/a.txt", range + "If-Range: \"x\"\r\n").status, 200);
  EXPECT_EQ(get("/s/a.txt", range + "If-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n").status, 206);
  EXPECT_EQ(get("/s/a.txt", range + "If-Range: Sun, 06 Nov 1994 08:49:38 GMT\r\n").status, 200);
  EXPECT_EQ(get("/s/a.txt", "Range: bytes=10-\r\nIf-Range: \"x\"\r\n").status, 200);
  EXPECT_EQ(get("/s/a.txt", range + "If-None-Match: " + etag + "\r\n").status, 304);
  EXPECT_EQ(get("/s/a.txt", "Range: bytes=10-\r\nIf-Match: \"x\"\r\n").status, 412);
}

// ---- folders ----

TEST_F(StaticFiles, a_folder_has_a_slash_and_an_index) {
  EXPECT_EQ(get("/s/").body, "<p>index");
  EXPECT_EQ(get("/s").field("Location"), "/s/");
  const Answer answer = get("/s/sub?x=%20");
  EXPECT_EQ(answer.status, 301);
  EXPECT_EQ(answer.field("Location"), "/s/sub/?x=%20");
  EXPECT_EQ(get("/s/sub/").status, 404);  // no index
  EXPECT_EQ(get("/s/a.txt/").status, 404);
  fs::create_directory(root_ + "/a \\b");
  EXPECT_EQ(get("/s/a%20%5Cb").field("Location"), "/s/a%20%5Cb/");
  fs::create_directory(root_ + "/sub/index.html");
  EXPECT_EQ(get("/s/sub/").status, 404);
}

TEST_F(StaticFiles, a_redirect_stays_on_this_host) {
  const Result<Handler> bare = static_files(root_);
  fs::create_directory(root_ + "/\\evil.example");
  EXPECT_EQ(ask(*bare, "GET /\\evil.example").field("Location"), "/%5Cevil.example/");
  EXPECT_EQ(ask(*bare, "GET //sub").status, 404);
  EXPECT_EQ(ask(*bare, "GET /sub//deep").status, 404);
}

TEST_F(StaticFiles, a_list_is_made_only_if_allowed_and_escapes_names) {
  StaticFilesOptions options;
  options.list_folders = true;
  put("sub/<b>&\"'.txt", "");
  put("sub/javascript:x", "");
  put("sub/.hidden", "");
  ASSERT_EQ(::symlink("/etc/passwd", (root_ + "/sub/link").c_str()), 0);
  ASSERT_EQ(::mkfifo((root_ + "/sub/fifo").c_str(), 0600), 0);
  const Answer answer = get("/s/sub/", {}, options);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.field("Content-Type"), "text/html; charset=utf-8");
  EXPECT_NE(answer.body.find("<h1>/s/sub/</h1>"), std::string::npos);
  EXPECT_NE(answer.body.find("<a href=\"../\">"), std::string::npos);
  EXPECT_NE(answer.body.find("<a href=\"./b.json\">b.json</a>"), std::string::npos);
  EXPECT_NE(answer.body.find("<a href=\"./deep/\">deep/</a>"), std::string::npos);
  EXPECT_NE(answer.body.find("&lt;b&gt;&amp;&quot;&#39;.txt</a>"), std::string::npos);
  EXPECT_NE(answer.body.find("<a href=\"./javascript:x\">"), std::string::npos);
  EXPECT_EQ(answer.body.find("<b>"), std::string::npos);
  for (const char* name : {"hidden", "link", "fifo"}) EXPECT_EQ(answer.body.find(name), std::string::npos) << name;
  EXPECT_EQ(get("/s/", {}, options).body, "<p>index");
  const Answer head = ask(site(options), "HEAD /s/sub/");
  EXPECT_EQ(head.field("Content-Length"), std::to_string(answer.body.size()));
}

TEST_F(StaticFiles, a_list_has_a_bound) {
  std::vector<FolderEntry> entries(kMaxFolderEntries + 1, {"x", false});
  EXPECT_NE(folder_page("/", false, entries).find("There are more"), std::string::npos);
  entries.pop_back();
  const std::string page = folder_page("/", false, entries);
  EXPECT_EQ(page.find("There are more"), std::string::npos);
  EXPECT_EQ(page.find("../"), std::string::npos);
}

// ---- variants ----

TEST_F(StaticFiles, a_precompressed_variant_goes_to_who_accepts_it) {
  StaticFilesOptions options;
  options.precompressed = true;
  put("a.txt.gz", "GZ");
  put("a.txt.br", "BR");
  const Answer plain = get("/s/a.txt", {}, options);
  EXPECT_EQ(plain.body, "0123456789");
  EXPECT_EQ(plain.field("Vary"), "Accept-Encoding");
  const Answer gzip = get("/s/a.txt", "Accept-Encoding: gzip, zstd\r\n", options);
  EXPECT_EQ(gzip.body, "GZ");
  EXPECT_EQ(gzip.field("Content-Encoding"), "gzip");
  EXPECT_EQ(gzip.field("Content-Type"), "text/plain; charset=utf-8");
  EXPECT_EQ(gzip.field("Vary"), "Accept-Encoding");
  EXPECT_NE(gzip.field("ETag"), plain.field("ETag"));
  EXPECT_EQ(get("/s/a.txt", "Accept-Encoding: gzip, br\r\n", options).body, "BR");
  EXPECT_EQ(get("/s/a.txt", "Accept-Encoding: gzip;q=0, *;q=0.5\r\n", options).body, "BR");
  EXPECT_EQ(get("/s/a.txt", "Accept-Encoding: zstd\r\n", options).body, "0123456789");
  EXPECT_EQ(get("/s/a.txt", "Accept-Encoding: identity, br;q=0.5\r\n", options).body, "0123456789");
  const Answer part = get("/s/a.txt", "Accept-Encoding: gzip\r\nRange: bytes=1-\r\n", options);
  EXPECT_EQ(part.body, "Z");
  EXPECT_EQ(part.field("Content-Range"), "bytes 1-1/2");
  EXPECT_EQ(part.field("Content-Encoding"), "gzip");
  const std::string same = "Accept-Encoding: gzip\r\nIf-None-Match: " + gzip.field("ETag") + "\r\n";
  EXPECT_EQ(get("/s/a.txt", same, options).status, 304);
  EXPECT_EQ(get("/s/a.txt", same, options).field("Vary"), "Accept-Encoding");
  EXPECT_EQ(get("/s/a.txt.gz", "Accept-Encoding: gzip\r\n", options).field("Content-Encoding"), "");
  EXPECT_EQ(get("/s/a.txt", "Accept-Encoding: br\r\n").body, "0123456789");  // not asked for
}

TEST_F(StaticFiles, a_variant_that_is_stale_or_no_file_is_not_used) {
  StaticFilesOptions options;
  options.precompressed = true;
  put("a.txt.gz", "GZ", kThen - 1);
  fs::create_directory(root_ + "/a.txt.br");
  put("lonely.txt.gz", "GZ");
  EXPECT_EQ(get("/s/a.txt", "Accept-Encoding: gzip, br\r\n", options).body, "0123456789");
  EXPECT_EQ(get("/s/lonely.txt", "Accept-Encoding: gzip\r\n", options).status, 404);
}

// ---- ways out ----

TEST_F(StaticFiles, no_name_leads_out_of_the_folder) {
  const Result<Handler> bare = static_files(root_);
  const Handler mux = site();
  for (const std::string path : {"../secret.txt",
                                 "%2e%2e/secret.txt",
                                 ".%2e/secret.txt",
                                 "..%2fsecret.txt",
                                 "%2e%2e%2fsecret.txt",
                                 "sub/../../secret.txt",
                                 "sub/..%2f..%2fsecret.txt",
                                 "..\\secret.txt",
                                 "..%5csecret.txt",
                                 "%252e%252e/secret.txt",
                                 "..%252fsecret.txt",
                                 "%c0%ae%c0%ae/secret.txt",
                                 "..%c0%afsecret.txt",
                                 "./../secret.txt",
                                 "a.txt/../../secret.txt",
                                 "//../secret.txt",
                                 "...//secret.txt",
                                 "%2e%2e%5csecret.txt",
                                 "..;/secret.txt",
                                 "%uff0e%uff0e/secret.txt",
                                 "sub%2fb.json",
                                 "sub%2Fb.json",
                                 "a.txt%00",
                                 "a.txt%00.html",
                                 "a.txt%20",
                                 "a.txt.",
                                 "proc/self/root/etc/passwd",
                                 "/etc/passwd",
                                 "%2fetc%2fpasswd",
                                 "http:/secret.txt",
                                 "~root",
                                 "C:/secret.txt"}) {
    for (const std::string prefix : {"/", "/s/"}) {
      const Answer answer = ask(prefix == "/" ? *bare : mux, "GET " + prefix + path);
      const bool refused = answer.status == 404 || answer.status == 400 || answer.status == 301;
      EXPECT_TRUE(refused) << prefix << path << ": " << answer.status;
      EXPECT_EQ(answer.body.find("SECRET"), std::string::npos) << path;
      EXPECT_TRUE(answer.whole) << path;
    }
  }
  EXPECT_EQ(ask(*bare, "GET /" + std::string(300, 'x')).status, 404);
  EXPECT_EQ(ask(
                *bare, "GET " +
                           [] {
                             std::string path;
                             for (int i = 0; i < 3000; ++i) path += "/x";
                             return path;
                           }())
                .status,
            404);
}

TEST_F(StaticFiles, names_with_a_dot_in_front_are_hidden_unless_allowed) {
  StaticFilesOptions options;
  EXPECT_EQ(get("/s/.env").status, 404);
  fs::create_directory(root_ + "/.git");
  put(".git/config", "c");
  EXPECT_EQ(get("/s/.git/config").status, 404);
  options.dotfiles = true;
  EXPECT_EQ(get("/s/.env", {}, options).body, "SECRET");
  EXPECT_EQ(get("/s/.git/config", {}, options).body, "c");
}

TEST_F(StaticFiles, symbolic_links_are_refused_or_stay_within) {
  const auto link = [&](const char* to, const std::string& name) {
    ASSERT_EQ(::symlink(to, (root_ + "/" + name).c_str()), 0);
  };
  link("a.txt", "inside");
  link("sub", "folder");
  link("../secret.txt", "outside");
  link("/etc", "absolute");
  link("sub/../../secret.txt", "winding");
  link("/proc/self/root", "magic");
  link("loop", "loop");
  link("nothing", "dangling");
  for (const char* name : {"inside", "folder/b.json", "folder/", "outside", "absolute/passwd", "winding", "loop",
                           "magic/etc/passwd", "dangling"}) {
    EXPECT_EQ(get(std::string("/s/") + name).status, 404) << name;
  }
  StaticFilesOptions options;
  options.follow_links = true;
  const int top = ::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  const net::OwnedFd owned(top);
  if (!open_beneath(top, "inside", Links::kFollow, Look::kAnywhere).is_file()) GTEST_SKIP() << "no openat2(2)";
  EXPECT_EQ(get("/s/inside", {}, options).body, "0123456789");
  EXPECT_EQ(get("/s/folder/b.json", {}, options).body, "{}");
  for (const char* name : {"outside", "absolute/passwd", "winding", "loop", "magic/etc/passwd", "dangling"}) {
    EXPECT_EQ(get(std::string("/s/") + name, {}, options).status, 404) << name;
  }
}

TEST_F(StaticFiles, what_is_no_regular_file_is_not_found) {
  ASSERT_EQ(::mkfifo((root_ + "/fifo").c_str(), 0600), 0);
  const net::OwnedFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = root_ + "/socket";
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(get("/s/fifo").status, 404);
  EXPECT_EQ(get("/s/socket").status, 404);
  // A terminal, one that is made by opening it, and a tape that is not there. Making them takes privileges.
  for (const auto& [name, device] : {std::pair{"tty", makedev(5, 0)}, {"ptmx", makedev(5, 2)}, {"tape", makedev(9, 0)}}) {
    if (::mknod((root_ + "/" + name).c_str(), S_IFCHR | 0600, device) != 0) continue;
    const int status = get(std::string("/s/") + name).status;
    EXPECT_TRUE(status == 404 || status == 403) << name << ": " << status;  // 403: mounted without devices
  }
}

TEST_F(StaticFiles, a_file_that_may_not_be_read_is_forbidden) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  ASSERT_EQ(::chmod((root_ + "/a.txt").c_str(), 0), 0);
  EXPECT_EQ(get("/s/a.txt").status, 403);
}

TEST_F(StaticFiles, the_walk_without_openat2_leads_out_no_more) {
  ASSERT_EQ(::symlink("a.txt", (root_ + "/inside").c_str()), 0);
  ASSERT_EQ(::symlink("sub", (root_ + "/folder").c_str()), 0);
  const net::OwnedFd top(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const auto walk = [&](const std::string& path) { return detail::open_by_walk(top.get(), path.c_str()); };
  EXPECT_TRUE(walk("a.txt").is_file());
  EXPECT_TRUE(walk("sub/deep/c d.html").is_file());
  EXPECT_TRUE(walk("sub").is_folder());
  EXPECT_TRUE(walk(".").is_folder());
  for (const char* path : {"../secret.txt", "sub/../../secret.txt", "sub/../a.txt", "..", "/etc/passwd", "sub//b.json",
                           "", "inside", "folder/b.json", "a.txt/x", "sub/"}) {
    EXPECT_NE(walk(path).error, 0) << path;
  }
  EXPECT_EQ(walk(std::string(300, 'x')).error, ENAMETOOLONG);
}

// ---- files that change ----

// The client takes what fits; then the file is changed, and the rest is taken.
template <class Change>
Answer change_while_sending(const Handler& handler, Change change) {
  Answer answer;
  on_one_p([&] {
    Rig rig(handler);
    rig.stream.take_in_all(20'000);
    rig.stream.send("GET /s/big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_TRUE(rig.stream.pump_until([&] { return rig.stream.written().size() == 20'000; }));
    change();
    rig.stream.take_in_all(MemoryStream::kNoLimit);
    const auto done = [&] { return rig.stream.shut() || rig.stream.closed() || rig.stream.written().size() > 100'000; };
    EXPECT_TRUE(rig.stream.pump_until(done));
    rig.stream.settle();
    answer = take_apart(rig.stream.written(), false);
    EXPECT_EQ(rig.stream.shut() || rig.stream.closed(), !answer.whole);
  });
  return answer;
}

TEST_F(StaticFiles, a_file_that_changes_while_it_is_sent_is_visibly_cut) {
  const std::string path = root_ + "/big.bin";
  const auto reset = [&] { put("big.bin", std::string(100'000, 'a')); };
  reset();
  EXPECT_TRUE(change_while_sending(site(), [] {}).whole);
  const Answer shorter = change_while_sending(site(), [&] { fs::resize_file(path, 50'000); });
  EXPECT_EQ(shorter.field("Content-Length"), "100000");
  EXPECT_FALSE(shorter.whole);
  EXPECT_LE(shorter.body.size(), 50'000U);
  reset();
  const Answer longer = change_while_sending(site(), [&] { std::ofstream(path, std::ios::app) << "more"; });
  EXPECT_FALSE(longer.whole);
  EXPECT_LT(longer.body.size(), 100'000U);
  reset();
  const Answer other = change_while_sending(site(), [&] { put("big.bin", std::string(100'000, 'b'), kThen + 5); });
  EXPECT_FALSE(other.whole);
  reset();
  const Answer replaced = change_while_sending(site(), [&] {
    put("new", std::string(100'000, 'b'));
    fs::rename(root_ + "/new", path);
  });
  EXPECT_TRUE(replaced.whole);  // the old one, to its end
  EXPECT_EQ(replaced.body, std::string(100'000, 'a'));
}

}  // namespace
}  // namespace heddle::http::test
