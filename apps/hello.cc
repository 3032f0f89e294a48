// heddle-hello: the smallest server. GET /plaintext and GET /json.
#include <heddle/http/mux.h>
#include <heddle/http/server.h>

#include "app.h"

namespace {

using heddle::http::Mux;
using heddle::http::Request;
using heddle::http::ResponseWriter;

Mux routes() {
  Mux mux;
  mux.handle("GET /plaintext", [](Request&, ResponseWriter& w) {
    w.set_header("Content-Type", "text/plain");
    w.write("Hello, World!");
  });
  mux.handle("GET /json", [](Request&, ResponseWriter& w) {
    w.set_header("Content-Type", "application/json");
    w.write(R"({"message":"Hello, World!"})");
  });
  return mux;
}

}  // namespace

int main(int argc, char** argv) {
  heddle::apps::App app("heddle-hello", "serves a greeting over HTTP/1.1: GET /plaintext, GET /json",
                        {"127.0.0.1:8080"}, "127.0.0.1:6060");
  app.add_http_flags();
  return app.run(argc, argv, [&] {
    heddle::http::Server server(routes(), app.http_options());
    return app.serve(server);
  });
}
