// Node's and Go's HTTP clients, and a browser, against heddle-httpbin. The checks are in client.mjs, client.go and
// browser.mjs; here they are run.
#include <string>

#include "../apps/httpbin_util.h"
#include "tool.h"

namespace heddle::test {
namespace {

TEST(Clients, node) {
  HEDDLE_NEED_TOOLS("node");
  run([] {
    Httpbin server;
    expect_tool_succeeds("node", {script("client.mjs"), server.url()});
    EXPECT_EQ(server.stop(), 0);
  });
}

TEST(Clients, go) {
  HEDDLE_NEED_TOOLS("go");
  run([] {
    const TempFolder folder;
    Httpbin server;
    if (const std::string client = build_go("client.go", folder); !client.empty()) {
      expect_tool_succeeds(client, {server.url()});
    }
    EXPECT_EQ(server.stop(), 0);
  });
}

// EventSource, a body by fetch as it comes, ranges for a player: the page's demos.
TEST(Clients, browser) {
  HEDDLE_NEED_TOOLS("node");
  std::string browser;
  for (const char* name : {"chromium", "google-chrome", "chromium-browser"}) {
    if (browser.empty()) browser = find_tool(name);
  }
  if (browser.empty()) GTEST_SKIP() << "no chromium is installed";
  run([&] {
    const TempFolder profile;
    Httpbin server;
    expect_tool_succeeds("node", {script("browser.mjs"), browser, server.url(), profile.path()});
    EXPECT_EQ(server.stop(), 0);
  });
}

}  // namespace
}  // namespace heddle::test
