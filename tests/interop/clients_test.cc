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

}  // namespace
}  // namespace heddle::test
