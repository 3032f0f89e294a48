#include "debug_pages.h"

#include <string>

#include <heddle/core/dump.h>

namespace heddle::apps {
namespace {

constexpr std::string_view kIndex =
    "<!doctype html><html lang=\"en\"><title>heddle: debug</title>\n"
    "<h1>/debug/</h1>\n"
    "<ul><li><a href=\"/debug/goroutines\">goroutines</a>: every goroutine, what it waits for, where it is and was "
    "started (<a href=\"/debug/goroutines?stacks=0\">without stacks</a>)</ul>\n";

http::Mux make_mux() {
  http::Mux mux;
  mux.handle("GET /debug/", [](http::Request&, http::ResponseWriter& w) {
    w.set_header("Content-Type", "text/html; charset=utf-8");
    w.write(kIndex);
  });
  mux.handle("GET /debug/goroutines", [](http::Request& r, http::ResponseWriter& w) {
    w.set_header("Content-Type", "text/plain; charset=utf-8");
    w.write(dump_goroutines({.stacks = r.query() != "stacks=0"}));
  });
  return mux;
}

}  // namespace

DebugPages::DebugPages() : mux_(make_mux()), server_(mux_) {}

void DebugPages::close() { server_.shutdown(std::chrono::milliseconds(100)); }

}  // namespace heddle::apps
