// heddle-httpbin as a process, and our own client to ask it.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <heddle/core/run.h>
#include <heddle/http/client.h>
#include <heddle/http/json.h>

#include "program.h"

namespace heddle::test {

/// heddle-httpbin with `flags`, on a port of its own. Threads: one goroutine makes and stops it.
class Httpbin : public net::test::Program {
 public:
  explicit Httpbin(std::vector<std::string> flags = {}) : Program(HEDDLE_HTTPBIN, with(std::move(flags))) {
    const std::string line = ready_line();
    url_ = "http://" + net::test::part(line, "http://");
    EXPECT_GT(url_.size(), 8u) << line;
  }

  /// "http://127.0.0.1:40312", without a slash.
  [[nodiscard]] const std::string& url() const { return url_; }
  [[nodiscard]] net::Address address() const { return *net::Address::parse(url_.substr(7)); }

 private:
  static std::vector<std::string> with(std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"--listen", "127.0.0.1:0", "--procs", "2"});
    return flags;
  }

  std::string url_;
};

/// An answer, read to its end.
struct Answer {
  int status = 0;
  std::map<std::string, std::string> fields;  // by name, as the server spells it; of several the last
  std::string body;
  std::string url;  // after redirects

  [[nodiscard]] std::string field(const std::string& name) const {
    const auto at = fields.find(name);
    return at == fields.end() ? "" : at->second;
  }
  [[nodiscard]] nlohmann::json json() const { return nlohmann::json::parse(body, nullptr, false); }
};

/// No proxy of the environment, and all else as it is by default.
inline http::ClientOptions plain_options() {
  http::ClientOptions options;
  options.proxy = {};
  return options;
}

/// Asks and reads the answer to its end; a status of 0 if that failed, which is a failure of the test.
inline Answer ask(http::Client& client, http::ClientRequest request) {
  Answer answer;
  const std::string what = request.url.to_string();
  Result<http::ClientResponse> response = client.send(request);
  if (!response) {
    ADD_FAILURE() << what << ": " << response.error().message();
    return answer;
  }
  Result<std::string> body = response->read_all(std::size_t{1} << 30);
  if (!body) {
    ADD_FAILURE() << what << ": " << response->status() << ", then " << body.error().message();
    return answer;
  }
  answer.status = response->status();
  for (const http::HeaderField field : response->headers()) answer.fields[std::string(field.name)] = field.value;
  answer.body = std::move(*body);
  answer.url = response->url().to_string();
  return answer;
}

/// The same, with what most requests have.
inline Answer ask(http::Client& client, http::Method method, const std::string& url,
                  const std::vector<std::pair<std::string, std::string>>& fields = {}, http::RequestBody body = {}) {
  http::ClientRequest request;
  request.method = method;
  const auto parsed = http::Url::parse(url);
  if (!parsed) {
    ADD_FAILURE() << url;
    return {};
  }
  request.url = *parsed;
  for (const auto& [name, value] : fields) EXPECT_TRUE(request.headers.set(name, value)) << name;
  request.body = std::move(body);
  return ask(client, std::move(request));
}

}  // namespace heddle::test
