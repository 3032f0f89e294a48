// A service with all that stands around handlers, on real sockets: uploads that go to the disk, JSON, failures.
#include <heddle/http/auth.h>
#include <heddle/http/catch_failures.h>
#include <heddle/http/cors.h>
#include <heddle/http/json.h>
#include <heddle/http/mux.h>
#include <heddle/http/rate_limit.h>
#include <heddle/http/read_form.h>
#include <heddle/http/request_id.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "sockets.h"

namespace heddle::http::test {
namespace {

using nlohmann::json;

// Sums over what came, so that a byte at another place shows.
std::uint64_t checksum(std::string_view bytes) {
  std::uint64_t sum = 14695981039346656037u;
  for (const char c : bytes) sum = (sum ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return sum;
}

std::string bytes_of(std::size_t size, unsigned seed) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i + seed) * 2654435761u >> 11);
  return text;
}

Handler service(std::atomic<int>& failures) {
  Mux mux;
  mux.use(catch_failures([&failures](const Request&, const std::exception_ptr&) { ++failures; }));
  mux.handle("POST /files", [](Request& r, ResponseWriter& w) {
    Result<Form> form = read_form(r, {.memory_per_file = 1000});
    if (!form) return static_cast<void>(w.status(status_for(form.error())));
    json sums = json::array();
    for (const FormFile& file : form->files) sums.push_back(checksum(file.read_all(1 << 20).value()));
    write_json(w, sums);
  });
  mux.handle("POST /json", [](Request& r, ResponseWriter& w) {
    const JsonResult<json> value = read_json(r);
    if (!value) return static_cast<void>(answer_json_error(w, value.error()));
    write_json(w, *value);
  });
  mux.handle("GET /fail", [](Request&, ResponseWriter&) { throw std::runtime_error("fail"); });
  Mux::Group secret = mux.group("/secret", {basic_auth({.realm = "r", .check = [](Request&, const BasicCredentials& c) {
                                                          return equal_secret(c.password, "p");
                                                        }})});
  secret.handle("GET /", [](Request&, ResponseWriter& w) { w.write("told"); });
  const Middleware limit = rate_limit({.requests = 1'000'000, .burst = 1'000'000});
  return request_id()(cors({.origins = {"https://a"}})(limit(mux)));
}

std::string post(std::string path, std::string type, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: a\r\nX-Request-Id: 1\r\nContent-Type: " + type +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
const std::string kFormType = "multipart/form-data; boundary=b";

std::string upload(const std::vector<std::string>& files) {
  std::string body;
  for (const std::string& file : files)
    body += "--b\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\n" + file + "\r\n";
  return post("/files", kFormType, body + "--b--");
}

TEST(ServiceLoopback, serves_all_kinds_of_bodies_at_once) {
  std::atomic<int> failures{0};
  with_server(
      2,
      [](std::uint16_t port) {
        std::vector<std::thread> clients;
        for (unsigned t = 0; t < 4; ++t) {
          clients.emplace_back([port, t] {
            Socket s(port);
            for (unsigned round = 0; round < 5; ++round) {
              const std::vector<std::string> files{bytes_of(500 + t, round), bytes_of(1001 + t, t),
                                                   bytes_of(150'000 + round, t), "\r\n--"};
              json sums = json::array();
              for (const std::string& file : files) sums.push_back(checksum(file));
              ASSERT_TRUE(s.send(upload(files)));
              EXPECT_TRUE(read_responses(s.read_response())
                              .at(0)
                              .ends_with(" X-Request-Id=1 Vary=Origin [" + sums.dump() + "]"));
              ASSERT_TRUE(s.send(post("/json", "application/json", "{\"a\": [" + std::to_string(t) + "]}")));
              EXPECT_EQ(read_responses(s.read_response()).at(0),
                        "200 cl=9 X-Request-Id=1 Vary=Origin [{\"a\":[" + std::to_string(t) + "]}]");
              ASSERT_TRUE(s.send("GET /fail HTTP/1.1\r\nHost: a\r\nX-Request-Id: 1\r\nOrigin: https://a\r\n\r\n"));
              EXPECT_EQ(read_responses(s.read_response()).at(0),
                        "500 cl=26 X-Request-Id=1 Vary=Origin Access-Control-Allow-Origin=https://a "
                        "[500 Internal Server Error\n]");
              ASSERT_TRUE(s.send("GET /secret/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic dTpw\r\n\r\n"));
              EXPECT_TRUE(read_responses(s.read_response()).at(0).ends_with("[told]"));
            }
          });
        }
        for (std::thread& client : clients) client.join();
      },
      {}, service(failures));
  EXPECT_EQ(failures, 20);
}

// with_server() counts descriptors: those of files on the disk must go, too.
TEST(ServiceLoopback, uploads_that_break_off_leave_nothing) {
  std::atomic<int> failures{0};
  with_server(
      2,
      [](std::uint16_t port) {
        const std::string whole = upload({bytes_of(200'000, 1), bytes_of(200'000, 2)});
        for (std::size_t i = 0; i < 8; ++i) {
          Socket s(port);
          ASSERT_TRUE(s.send(std::string_view(whole).substr(0, whole.size() * (i + 1) / 9)));
          if (i % 2 == 0) {
            s.reset();
            continue;
          }
          s.finish();
          EXPECT_EQ(s.read_to_end().substr(9, 3), "400");
        }
      },
      {}, service(failures));
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace heddle::http::test
