// The access log: its lines, that nobody can forge one, and that nothing is lost that is not counted.
#include <heddle/core/wait_group.h>
#include <heddle/http/access_log.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "sockets.h"

namespace heddle::http::test {
namespace {

RequestRecord example() {
  RequestRecord r;
  r.began = std::chrono::sys_days(std::chrono::year(2026) / 11 / 21) + 2h + 47min + 38s + 123456us;
  r.took = 412us;
  r.first_byte = 400us;
  r.peer = "192.0.2.1:40312";
  r.method = "GET";
  r.target = "/a?b=c";
  r.status = 200;
  r.bytes_sent = 150;
  r.bytes_received = 80;
  r.whole = true;
  return r;
}

TEST(AccessLine, is_json_or_text) {
  RequestRecord r = example();
  EXPECT_EQ(
      access_line(r, AccessLogFormat::kJson),
      R"({"time":"2026-11-21T02:47:38.123456Z","client":"192.0.2.1:40312","method":"GET","target":"/a?b=c",)"
      R"("protocol":"HTTP/1.1","status":200,"sent":150,"received":80,"us":412,"first_us":400,"outcome":"whole"})");
  EXPECT_EQ(access_line(r, AccessLogFormat::kText),
            R"(192.0.2.1:40312 [2026-11-21T02:47:38.123456Z] "GET /a?b=c HTTP/1.1" 200 150 80 412 400 "-" "-" id=-)"
            R"( route="-" whole)");
  r.method = {};
  r.target = {};
  r.first_byte.reset();
  r.refused = true;
  r.whole = false;
  r.client_gone = true;
  r.id = "abc";
  r.route = "GET /{x}";
  EXPECT_EQ(access_line(r, AccessLogFormat::kJson),
            R"({"time":"2026-11-21T02:47:38.123456Z","client":"192.0.2.1:40312","protocol":"HTTP/1.1","status":200,)"
            R"("sent":150,"received":80,"us":412,"id":"abc","route":"GET /{x}","refused":true,"outcome":"gone"})");
  EXPECT_EQ(access_line(r, AccessLogFormat::kText),
            R"(192.0.2.1:40312 [2026-11-21T02:47:38.123456Z] "- - HTTP/1.1" 200 150 80 412 - "-" "-" id=abc)"
            R"( route="GET /{x}" gone refused)");
}

TEST(AccessLine, no_byte_of_a_client_ends_it_or_forges_a_field) {
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  RequestRecord r = example();
  r.target = all;
  r.method = all;
  r.id = all;
  for (const AccessLogFormat format : {AccessLogFormat::kJson, AccessLogFormat::kText}) {
    const std::string line = access_line(r, format);
    for (const char c : line) EXPECT_TRUE(c >= 0x20 && c <= 0x7e);
  }
  const nlohmann::json read = nlohmann::json::parse(access_line(r, AccessLogFormat::kJson));
  std::string latin;  // each byte as the character of its number
  for (const unsigned char c : all) {
    if (c < 0x80) {
      latin += static_cast<char>(c);
    } else {
      latin += static_cast<char>(0xc0 | c >> 6);
      latin += static_cast<char>(0x80 | (c & 0x3f));
    }
  }
  EXPECT_EQ(read["target"], latin);
  EXPECT_EQ(read["status"], 200);
  const std::string quoted = R"(/" 500 "forged)";
  r = example();
  r.target = quoted;
  EXPECT_NE(access_line(r, AccessLogFormat::kText).find(R"("GET /\" 500 \"forged HTTP/1.1" 200)"), std::string::npos);
}

TEST(AccessLine, long_texts_are_cut) {
  const std::string target(100, 'a');
  RequestRecord r = example();
  r.target = target;
  EXPECT_NE(access_line(r, AccessLogFormat::kJson, 10).find(R"("aaaaaaaaaa...")"), std::string::npos);
}

/// A file that is gone afterwards.
class TempFile {
 public:
  TempFile() {
    std::string name = std::filesystem::temp_directory_path() / "heddle-access-XXXXXX";
    const int fd = ::mkstemp(name.data());
    EXPECT_GE(fd, 0);
    ::close(fd);
    path = name;
  }
  ~TempFile() { std::filesystem::remove(path); }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::ifstream in(path);
    std::vector<std::string> all;
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }
  std::string path;
};

TEST(AccessLog, writes_each_line_whole_from_many_goroutines) {
  const TempFile file;
  constexpr int kGs = 8;
  constexpr int kEach = 200;
  run([&] {
    const auto log = AccessLog::open({.path = file.path});
    ASSERT_TRUE(log);
    WaitGroup all;
    for (int g = 0; g < kGs; ++g) {
      all.go([&, g] {
        for (int i = 0; i < kEach; ++i) {
          const std::string target = "/" + std::to_string(g) + "/" + std::to_string(i);
          RequestRecord r = example();
          r.target = target;
          (*log)->write(r);
        }
      });
    }
    all.wait();
    EXPECT_EQ((*log)->dropped(), 0u);  // all of it is less than a shard holds
    (*log)->flush();
    EXPECT_EQ(file.lines().size(), std::size_t{kGs * kEach});
    (*log)->flush();
  });
  std::set<std::string> targets;
  for (const std::string& line : file.lines()) targets.insert(nlohmann::json::parse(line)["target"].get<std::string>());
  EXPECT_EQ(targets.size(), std::size_t{kGs * kEach});
}

TEST(AccessLog, writes_what_waits_when_it_ends_and_counts_what_it_drops) {
  const TempFile file;
  std::uint64_t dropped = 0;
  constexpr std::uint64_t kMany = 3000;
  run([&] {
    const auto log = AccessLog::open({.path = file.path, .buffer = 256 * 1024, .max_target = 100'000});
    ASSERT_TRUE(log);
    const std::string target(1000, 'a');
    const std::string too_long(40'000, 'a');
    RequestRecord r = example();
    r.target = too_long;
    (*log)->write(r);
    EXPECT_EQ((*log)->dropped(), 1u);
    r.target = target;
    for (std::uint64_t i = 0; i < kMany; ++i) (*log)->write(r);
    dropped = (*log)->dropped();
  });
  EXPECT_EQ(file.lines().size() + dropped, kMany + 1);
  for (const std::string& line : file.lines())
    EXPECT_TRUE(line.starts_with("{\"time\"") && line.ends_with("\"whole\"}"));
}

TEST(AccessLog, wakes_for_the_first_line_after_a_silence) {
  const TempFile file;
  run([&] {
    const auto log = AccessLog::open({.path = file.path, .format = AccessLogFormat::kText});
    ASSERT_TRUE(log);
    // Nobody flushes: the writer comes by itself.
    for (std::size_t n = 1; n <= 5; ++n) {
      (*log)->write(example());
      while (file.lines().size() < n) sleep(1ms);
    }
  });
}

TEST(AccessLog, says_why_it_cannot_be_opened) {
  EXPECT_EQ(AccessLog::open({.path = "/proc/no/such/file"}).error().sys, ENOENT);
  EXPECT_EQ(AccessLog::open({.path = "-", .buffer = 100}).error().code, Code::kInvalid);
  EXPECT_EQ(AccessLog::open({.path = "/"}).error().sys, EISDIR);
}

TEST(AccessLog, makes_its_file_and_no_folder) {
  const TempFile file;
  const std::string misspelt = file.path + ".d/access.log";
  EXPECT_EQ(AccessLog::open({.path = misspelt}).error().code, Code::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(file.path + ".d"));
}

TEST(AccessLog, of_a_server_has_a_line_for_each_request) {
  const TempFile file;
  {
    ServerOptions options;
    options.on_request_done = access_log(AccessLog::open({.path = file.path}).value());
    with_server(
        2,
        [](std::uint16_t port) {
          for (int i = 0; i < 10; ++i) {
            Socket socket(port);
            ASSERT_TRUE(
                socket.send("GET /hello HTTP/1.1\r\nHost: a\r\nUser-Agent: \"me\"\r\nReferer: /r\r\n\r\nbad\r\n\r\n"));
            EXPECT_FALSE(socket.read_response().empty());
            socket.read_to_end();
          }
        },
        options);
  }
  int good = 0;
  int bad = 0;
  for (const std::string& line : file.lines()) {
    const nlohmann::json j = nlohmann::json::parse(line);
    if (j["status"] == 200) {
      ++good;
      EXPECT_EQ(j["agent"], "\"me\"");
      EXPECT_EQ(j["referer"], "/r");
      EXPECT_TRUE(j["client"].get<std::string>().starts_with("127.0.0.1:"));
    } else {
      ++bad;
      EXPECT_EQ(j["status"], 400);
      EXPECT_EQ(j["refused"], true);
    }
  }
  EXPECT_EQ(good, 10);
  EXPECT_EQ(bad, 10);
}

}  // namespace
}  // namespace heddle::http::test
