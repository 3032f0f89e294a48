// Load generators against heddle-httpbin: all that they ask must be answered, however they ask. What they measure is not
// looked at. HEDDLE_INTEROP=N makes it N times as much.
#include <cstdlib>
#include <regex>
#include <string>
#include <vector>

#include "../apps/httpbin_util.h"
#include "tool.h"

namespace heddle::test {
namespace {

const std::string kMany = std::to_string(1000 * effort());
const std::string kSeconds = std::to_string(effort()) + "s";

// What the first group of `pattern` is in `text`; "?" if it is not there.
std::string found(const std::string& text, const std::string& pattern) {
  std::smatch match;
  return std::regex_search(text, match, std::regex(pattern)) ? match[1].str() : "?";
}

// Runs the tool with a server's address in place of $U, and has `check` look at what it wrote.
template <class Check>
void load(const std::string& tool, std::vector<std::string> args, Check check,
          const std::vector<std::string>& env = {}) {
  run([&] {
    Httpbin server;
    for (std::string& arg : args) {
      if (const std::size_t at = arg.find("$U"); at != std::string::npos) arg.replace(at, 2, server.url());
    }
    const net::Output got = run_tool(tool, args, {}, env);
    EXPECT_TRUE(got.status.ok()) << got.status.to_string() << "\n" << got.out << got.err;
    check(got.out + got.err);
    EXPECT_EQ(server.stop(), 0);
  });
}

void check_wrk(const std::string& said) {
  EXPECT_EQ(said.find("Socket errors"), std::string::npos) << said;
  EXPECT_EQ(said.find("Non-2xx"), std::string::npos) << said;
  EXPECT_GT(std::atoll(found(said, "([0-9]+) requests in").c_str()), 0) << said;
}

TEST(Load, wrk) {
  HEDDLE_NEED_TOOLS("wrk");
  load("wrk", {"-t1", "-c32", "-d" + kSeconds, "$U/plaintext"}, check_wrk);
}

TEST(Load, wrk_pipelines) {
  HEDDLE_NEED_TOOLS("wrk");
  const TempFolder folder;
  const std::string lua = folder.write("pipeline.lua", R"(
init = function(args)
  local all = {}
  for i = 1, 16 do all[i] = wrk.format("GET", i % 2 == 0 and "/plaintext" or "/chunked/2") end
  batch = table.concat(all)
end
request = function() return batch end
)");
  load("wrk", {"-t1", "-c16", "-d" + kSeconds, "-s", lua, "$U/"}, check_wrk);
}

void check_ab(const std::string& said) {
  EXPECT_EQ(found(said, "Complete requests: +([0-9]+)"), kMany) << said;
  EXPECT_EQ(found(said, "Failed requests: +([0-9]+)"), "0") << said;
  EXPECT_EQ(said.find("Non-2xx"), std::string::npos) << said;
}

TEST(Load, ab_with_a_connection_for_each) {
  HEDDLE_NEED_TOOLS("ab");
  load("ab", {"-q", "-n", kMany, "-c", "16", "$U/plaintext"}, check_ab);
}

// HTTP/1.0 with keep-alive: the server must say so each time, and tell the length.
TEST(Load, ab_that_keeps_connections) {
  HEDDLE_NEED_TOOLS("ab");
  load("ab", {"-q", "-k", "-n", kMany, "-c", "16", "$U/range/100"}, [](const std::string& said) {
    check_ab(said);
    EXPECT_EQ(found(said, "Keep-Alive requests: +([0-9]+)"), kMany) << said;
  });
}

TEST(Load, ab_that_uploads) {
  HEDDLE_NEED_TOOLS("ab");
  const TempFolder folder;
  const std::string file = folder.write("body", noise(10'000));
  load("ab", {"-q", "-k", "-n", kMany, "-c", "8", "-p", file, "-T", "text/plain", "$U/echo"},
       [](const std::string& said) {
         check_ab(said);
         EXPECT_EQ(found(said, "Document Length: +([0-9]+)"), "10000") << said;
       });
}

TEST(Load, h2load_pipelines_over_http_1) {
  HEDDLE_NEED_TOOLS("h2load");
  load("h2load", {"--h1", "-n", kMany, "-c", "8", "-m", "10", "$U/plaintext", "$U/range/5000"},
       [](const std::string& said) {
         EXPECT_NE(said.find(" " + kMany + " succeeded, 0 failed, 0 errored, 0 timeout"), std::string::npos) << said;
       });
}

// Its exit status says nothing: failures are an "Error distribution", and each status is told with how often it came.
void check_hey(const std::string& said) {
  EXPECT_EQ(found(said, "\\[200\\]\t([0-9]+) responses"), kMany) << said;
  EXPECT_EQ(said.find("Error distribution"), std::string::npos) << said;
}

TEST(Load, hey) {
  HEDDLE_NEED_TOOLS("hey");
  load("hey", {"-n", kMany, "-c", "8", "$U/get"}, check_hey);
}

TEST(Load, hey_with_a_connection_for_each) {
  HEDDLE_NEED_TOOLS("hey");
  load("hey", {"-n", kMany, "-c", "8", "-disable-keepalive", "$U/gzip"}, check_hey);
}

TEST(Load, hey_that_uploads) {
  HEDDLE_NEED_TOOLS("hey");
  const TempFolder folder;
  const std::string file = folder.write("body", noise(10'000));
  load("hey", {"-n", kMany, "-c", "8", "-m", "POST", "-T", "text/plain", "-D", file, "$U/echo"},
       [](const std::string& said) {
         check_hey(said);
         EXPECT_EQ(found(said, "Size/request:\\t([0-9]+) bytes"), "10000") << said;
       });
}

TEST(Load, hey_whose_deadline_is_shorter_than_the_answer) {
  HEDDLE_NEED_TOOLS("hey");
  load("hey", {"-n", "8", "-c", "8", "-t", "1", "$U/delay/60000"}, [](const std::string& said) {
    EXPECT_NE(said.find("Error distribution:\n  [8]\t"), std::string::npos) << said;
  });
}

TEST(Load, siege) {
  HEDDLE_NEED_TOOLS("siege");
  const TempFolder home;  // it writes its settings there
  const std::string repeats = std::to_string(50 * effort());
  load("siege", {"-b", "-q", "-j", "-c", "8", "-r", repeats, "$U/gzip"},
       [&](const std::string& said) {
         EXPECT_EQ(found(said, "\"transactions\":\\s+([0-9]+)"), std::to_string(400 * effort())) << said;
         EXPECT_EQ(found(said, "\"failed_transactions\":\\s+([0-9]+)"), "0") << said;
       },
       {"HOME=" + home.path()});
}

}  // namespace
}  // namespace heddle::test
