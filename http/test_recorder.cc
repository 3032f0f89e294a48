#include <heddle/http/test_recorder.h>

#include <array>
#include <utility>

#include <heddle/core/park.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/internal/response_parser.h>
#include <heddle/http/method.h>
#include <heddle/http/test_server.h>

namespace heddle::http::test {
namespace {

std::string hex(std::size_t n) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  do {
    out.insert(out.begin(), kDigits[n % 16]);
    n /= 16;
  } while (n != 0);
  return out;
}

void put_fields(std::string& out, const http::Fields& fields) {
  for (const http::Fields::Field& field : fields) out += field.name + ": " + field.value + "\r\n";
}

std::string wire_form(const TestRequest& request) {
  std::string out = request.method + " " + request.target + " HTTP/1." + std::to_string(request.minor_version) + "\r\n";
  if (!request.fields.contains("Host")) out += "Host: server.test\r\n";
  put_fields(out, request.fields);
  const bool framed = request.fields.contains("Content-Length") || request.fields.contains("Transfer-Encoding");
  const bool chunked = !request.chunks.empty() || !request.trailers.empty();
  if (chunked) {
    if (!framed) out += "Transfer-Encoding: chunked\r\n";
    out += "\r\n";
    for (const std::string& chunk : request.chunks) {
      if (!chunk.empty()) out += hex(chunk.size()) + "\r\n" + chunk + "\r\n";
    }
    out += "0\r\n";
    put_fields(out, request.trailers);
    return out + "\r\n";
  }
  if (!framed && !request.body.empty()) out += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  return out + "\r\n" + request.body;
}

http::Fields copied(const HeaderList& list) {
  http::Fields out;
  for (const HeaderField field : list)
    static_cast<void>(out.add(field.name, field.value));  // it was parsed: it is valid
  return out;
}

// Reads one final answer, and those before it.
class AnswerReader {
 public:
  AnswerReader(net::Transport& conn, Method method, Recorded& into) : conn_(conn), method_(method), into_(into) {}

  Result<void> read() {
    for (;;) {
      if (Result<void> head = read_head(); !head) return head;
      if (head_.status >= 200 || head_.status == 101) break;
      into_.informational.push_back({head_.status, std::move(fields_)});
    }
    into_.status = head_.status;
    into_.fields = std::move(fields_);
    if (head_.framing == ResponseFraming::kTunnel) return {};  // what follows is no HTTP
    return read_body();
  }

 private:
  [[nodiscard]] std::string_view unread() const { return std::string_view(into_.raw).substr(at_); }

  Result<void> read_head() {
    std::size_t seen = 0;
    head_ = {};
    for (;;) {
      const Result<std::size_t> size = parse_response_head(unread(), seen, method_, {}, head_);
      if (!size) return std::unexpected(size.error());
      if (*size != 0) {
        fields_ = copied({unread().data(), head_.refs.data(), head_.refs.size()});
        at_ += *size;
        return {};
      }
      const Result<bool> came = more();
      if (!came) return std::unexpected(came.error());
      if (!*came) return std::unexpected(Error{Code::kEof, 0, "recorder"});
    }
  }

  Result<void> read_body() {
    BodyReader body(head_, {});
    std::array<std::byte, 4096> buf;
    while (!body.done()) {
      if (unread().empty()) {
        const Result<bool> came = more();
        if (!came) return std::unexpected(came.error());
        if (!*came) return body.end();
      }
      const Result<BodyReader::Step> step = body.take(bytes_of(unread()), buf);
      if (!step) return std::unexpected(step.error());
      at_ += step->consumed;
      into_.body.append(reinterpret_cast<const char*>(buf.data()), step->produced);
    }
    into_.trailers = copied(body.trailers());
    return {};
  }

  // False: the stream has ended.
  Result<bool> more() {
    std::array<std::byte, 4096> buf;
    const Result<std::size_t> n = conn_.read(buf);
    if (!n) return std::unexpected(n.error());
    into_.raw.append(reinterpret_cast<const char*>(buf.data()), *n);
    return *n != 0;
  }

  net::Transport& conn_;
  const Method method_;
  Recorded& into_;
  ResponseHead head_;
  http::Fields fields_;
  std::size_t at_ = 0;  // of raw: what was read
};

Recorded run_here(const Handler& handler, const TestRequest& request, const ServerOptions& options) {
  Recorded recorded;
  TestServer server(handler, {.server = options, .client_address = request.remote});
  Result<std::unique_ptr<TestConn>> conn = server.dial();
  if (!conn) {
    recorded.error = conn.error();
    return recorded;
  }
  // Written aside: a handler may answer before it has read all of a long body, and the answer has to be read then.
  WaitGroup writer;
  writer.go(
      [&] { static_cast<void>((*conn)->write(bytes_of(wire_form(request)))); });  // an early end shows in the answer
  const Method method = parse_method(request.method).value_or(Method::kGet);
  if (const Result<void> read = AnswerReader(**conn, method, recorded).read(); !read) recorded.error = read.error();
  (*conn)->close();
  writer.wait();
  server.close();
  return recorded;
}

}  // namespace

Recorded Recorder::run(const Handler& handler, const TestRequest& request, const ServerOptions& options) {
  if (current_g() != nullptr) return run_here(handler, request, options);
  Recorded recorded;
  heddle::run([&] { recorded = run_here(handler, request, options); }, {.procs = 1});
  return recorded;
}

}  // namespace heddle::http::test
