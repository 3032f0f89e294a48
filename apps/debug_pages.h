// DebugPages: the pages under /debug/ that a program serves beside its own, on an address of their own.
#pragma once

#include <heddle/core/error.h>
#include <heddle/http/mux.h>
#include <heddle/http/server.h>
#include <heddle/net/endpoint.h>

namespace heddle::apps {

class DebugPages {
 public:
  DebugPages();

  [[nodiscard]] Result<net::Endpoint> listen(const net::Endpoint& where) { return server_.listen(where); }
  void close();

 private:
  http::Mux mux_;
  http::Server server_;
};

}  // namespace heddle::apps
