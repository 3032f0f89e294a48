// --access-log: what a program that serves HTTP writes of its requests.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <heddle/core/run.h>
#include <heddle/net/address.h>
#include <heddle/net/tcp.h>

#include "program.h"

namespace heddle::net::test {
namespace {

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line);) all.push_back(line);
  return all;
}

TEST(AccessLogFlag, has_every_request_in_the_file_once_the_program_has_ended) {
  std::string path = std::filesystem::temp_directory_path() / "heddle-access-XXXXXX";
  const int fd = ::mkstemp(path.data());
  ASSERT_GE(fd, 0);
  ::close(fd);
  run([&] {
    Program hello(HEDDLE_HELLO,
                  {"--listen", "127.0.0.1:0", "--debug", "off", "--access-log", path, "--access-log-format", "text"});
    const std::string line = hello.ready_line();
    const Result<Address> at = Address::parse(part(line, "http://"));
    ASSERT_TRUE(at) << line;
    Result<Conn> conn = dial(*at);
    ASSERT_TRUE(conn);
    const std::string_view requests =
        "GET /json HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    ASSERT_TRUE(conn->write(std::as_bytes(std::span(requests))));
    std::byte buffer[4096];
    for (;;) {
      const Result<std::size_t> n = conn->read(buffer);
      if (!n || *n == 0) break;
    }
    conn->close();
    EXPECT_EQ(hello.stop(), 0);
  });
  const std::vector<std::string> lines = lines_of(path);
  std::filesystem::remove(path);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].find("\"GET /json HTTP/1.1\" 200 "), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("route=\"GET /json\" whole"), std::string::npos) << lines[0];
  EXPECT_NE(lines[1].find("\"GET /none HTTP/1.1\" 404 "), std::string::npos) << lines[1];
}

TEST(AccessLogFlag, that_cannot_be_opened_is_an_error) {
  run([] {
    Program hello(HEDDLE_HELLO, {"--listen", "127.0.0.1:0", "--debug", "off", "--access-log", "/proc/no/such/file"});
    EXPECT_NE(hello.ready_line().find("--access-log /proc/no/such/file: "), std::string::npos);
    EXPECT_EQ(hello.wait(), 1);
  });
}

}  // namespace
}  // namespace heddle::net::test
