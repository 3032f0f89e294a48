// DebugPages: the pages under /debug/ that a program serves beside its own, on an address of their own.
#pragma once

#include <heddle/core/error.h>
#include <heddle/http/mux.h>
#include <heddle/http/server.h>
#include <heddle/net/address.h>

namespace heddle::apps {

class DebugPages {
 public:
  DebugPages();

  [[nodiscard]] Result<net::Address> listen(const net::Address& address) { return server_.listen(address); }
  void close();

 private:
  http::Mux mux_;
  http::Server server_;
};

}  // namespace heddle::apps
