// What a ClientResponse is made of. For the client, which builds it.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include <heddle/core/error.h>
#include <heddle/http/client_response.h>
#include <heddle/http/internal/client_exchange.h>

namespace heddle::http {

struct ClientResponse::State {
  State(std::unique_ptr<ClientExchange> e, Url u, std::size_t drain)
      : exchange(std::move(e)), url(std::move(u)), max_drain(drain) {}

  const std::unique_ptr<ClientExchange> exchange;
  Url url;
  const std::size_t max_drain;

  // Pulls from the exchange; null: none. Of what it gives:
  std::unique_ptr<net::Reader> decoder;
  bool whole = false;  // the end was read, and the exchange's own with it
  Error error{};       // it broke, or was closed
};

}  // namespace heddle::http
