// curl against heddle-httpbin: what it prints, how it ends, how many connections it took.
#include <unistd.h>

#include <string>
#include <vector>

#include "../apps/httpbin_util.h"
#include "tool.h"

namespace heddle::test {
namespace {

constexpr int kFails = -1;  // with whatever status

struct Case {
  const char* name;
  std::vector<std::string> args;  // of curl, behind -sS; $U is the server, $D the test's folder
  std::string out;                // what it prints, all of it; "…x…" something with x in it
  int exit = 0;
  std::string in = {};  // its standard input
};

std::string with_places(std::string text, const std::string& url, const std::string& folder) {
  for (const auto& [mark, value] : {std::pair("$U", url), std::pair("$D", folder)}) {
    for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += value.size()) {
      text.replace(at, 2, value);
    }
  }
  return text;
}

// The beginning, for a message.
std::string printable(std::string text) {
  if (text.size() > 1000) text = text.substr(0, 1000) + "...";
  for (char& ch : text) {
    if (ch != '\n' && (ch < ' ' || ch > '~')) ch = '?';
  }
  return text;
}

void check(const Case& c, const Httpbin& server, const TempFolder& folder) {
  std::vector<std::string> args{"-sS", "--max-time", "90", "--noproxy", "*"};
  for (const std::string& arg : c.args) args.push_back(with_places(arg, server.url(), folder.path()));
  const net::Output got = run_tool("curl", args, c.in);
  const bool as_expected = c.exit == kFails ? !got.status.ok() : got.status == net::ExitStatus{.code = c.exit};
  EXPECT_TRUE(as_expected) << c.name << ": " << got.status.to_string() << "\n" << got.err;
  const std::string want = with_places(c.out, server.url(), folder.path());
  constexpr std::string_view kSomething = "…";
  if (want.starts_with(kSomething)) {
    const std::string part = want.substr(kSomething.size(), want.size() - 2 * kSomething.size());
    EXPECT_NE(got.out.find(part), std::string::npos) << c.name << ": " << printable(got.out);
  } else {
    EXPECT_TRUE(got.out == want) << c.name << ": " << printable(got.out) << "\nwanted " << printable(want);
  }
}

// All of one list with one server, in order: what a curl leaves in the folder the next one may use.
void check_all(std::vector<std::string> flags, const TempFolder& folder, const std::vector<Case>& cases) {
  run([&] {
    Httpbin server(std::move(flags));
    for (const Case& c : cases) check(c, server, folder);
    EXPECT_EQ(server.stop(), 0);
  });
}

std::string letters(std::size_t from, std::size_t to) {
  std::string text;
  for (std::size_t i = from; i < to; ++i) text += static_cast<char>('a' + i % 26);
  return text;
}

TEST(Curl, versions_methods_and_targets) {
  HEDDLE_NEED_TOOLS("curl");
  const TempFolder folder;
  const std::string status = "%{http_code} %{http_version}\n";
  check_all({}, folder,
            {
                {"1.1", {"$U/plaintext", "-w", "|" + status}, "Hello, World!|200 1.1\n"},
                {"1.0", {"--http1.0", "$U/plaintext", "-i"}, "…Connection: close\r\n…"},
                {"1.0 keeps if asked",
                 {"--http1.0", "-H", "Connection: keep-alive", "$U/plaintext", "$U/plaintext", "-w", "%{num_connects}"},
                 "Hello, World!1Hello, World!0"},
                {"1.0 has no chunks", {"--http1.0", "$U/chunked/2"}, "chunk 0\nchunk 1\n"},
                {"chunks on the wire", {"--raw", "$U/chunked/2"}, "8\r\nchunk 0\n\r\n8\r\nchunk 1\n\r\n0\r\n\r\n"},
                {"an offer of h2c is passed over",
                 {"--http2", "$U/plaintext", "-w", "|" + status},
                 "Hello, World!|200 1.1\n"},
                {"h2 without asking is refused",
                 {"--http2-prior-knowledge", "$U/plaintext", "-o", "/dev/null", "-w", "x"},
                 "x",
                 kFails},
                {"HEAD", {"-I", "$U/range/100"}, "…Content-Length: 100\r\n…"},
                {"HEAD leaves the connection",
                 {"-I", "$U/chunked/3", "$U/bytes/7", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects}"},
                 "10"},
                {"no such method", {"-X", "FOO", "$U/get", "-o", "/dev/null", "-w", status}, "501 1.1\n"},
                {"not this method", {"-X", "PUT", "$U/get", "-i"}, "…Allow: GET, HEAD\r\n…"},
                {"OPTIONS *",
                 {"-X", "OPTIONS", "--request-target", "*", "$U/", "-o", "/dev/null", "-w", status},
                 "200 1.1\n"},
                {"TRACE is not echoed",
                 {"-X", "TRACE", "-H", "Cookie: secret", "$U/anything/x", "-w", "%{http_code}"},
                 "501 Not Implemented\n501"},
                {"as a proxy is asked",
                 {"--noproxy", "", "--proxy", "$U", "http://x.example/get?a=b"},
                 "…\"url\":\"http://x.example/get?a=b\"…"},
                {"dots in the path",
                 {"--path-as-is", "$U/a/../plaintext", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"},
                 "301 $U/plaintext"},
                {"without Host", {"-H", "Host:", "$U/get", "-o", "/dev/null", "-w", status}, "400 1.1\n"},
                {"a head too large",
                 {"-H", "X-A: " + std::string(40'000, 'a'), "$U/get", "-o", "/dev/null", "-w", status},
                 "431 1.1\n"},
                {"a target too large",
                 {"$U/anything/" + std::string(9000, 'a'), "-o", "/dev/null", "-w", status},
                 "414 1.1\n"},
                {"an error for -f", {"-f", "$U/status/404"}, "", 22},
                {"no body", {"$U/status/204", "-w", "%{http_code} %{size_download}"}, "204 0"},
                {"a panic, then more",
                 {"$U/panic", "$U/plaintext", "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n"},
                 "500 1\nHello, World!200 0\n"},
                {"it gives up", {"--max-time", "0.1", "$U/delay/60000"}, "", 28},
            });
}

TEST(Curl, connections_redirects_cookies_and_auth) {
  HEDDLE_NEED_TOOLS("curl");
  const TempFolder folder;
  check_all(
      {}, folder,
      {
          {"one connection for many",
           {"$U/get",
            "-o",
            "/dev/null",
            "-w",
            "%{num_connects} ",
            "--next",
            "-sS",
            "-d",
            "x",
            "$U/post",
            "-o",
            "/dev/null",
            "-w",
            "%{num_connects} ",
            "--next",
            "-sS",
            "$U/redirect/3",
            "-L",
            "-o",
            "/dev/null",
            "-w",
            "%{num_connects} %{num_redirects}"},
           "1 0 0 3"},
          {"fifty at once",
           {"-Z", "--no-progress-meter", "$U/range/26#[1-50]"},
           [] {
             std::string all;
             for (int i = 0; i < 50; ++i) all += letters(0, 26);
             return all;
           }()},
          {"after close a new one",
           {"-H", "Connection: close", "$U/plaintext", "$U/plaintext", "-w", "%{num_connects}"},
           "Hello, World!1Hello, World!1"},
          {"redirects", {"-L", "$U/redirect/5"}, "…\"url\":\"$U/get\"…"},
          {"absolute redirects",
           {"-L", "$U/absolute-redirect/2", "-o", "/dev/null", "-w", "%{num_redirects} %{url_effective}"},
           "2 $U/get"},
          {"too many", {"-L", "--max-redirs", "2", "$U/redirect/3", "-o", "/dev/null"}, "", 47},
          {"307 keeps the body", {"-L", "-d", "again", "$U/redirect-to?url=/echo&status_code=307"}, "again"},
          {"303 drops it", {"-L", "-d", "x", "$U/redirect-to?url=/anything&status_code=303"}, "…\"method\":\"GET\"…"},
          {"cookies",
           {"-c", "$D/jar", "-b", "$D/jar", "-L", "$U/cookies/set?a=1&b=2"},
           R"({"cookies":{"a":"1","b":"2"}})"},
          {"cookies of a file",
           {"-c", "$D/jar", "-b", "$D/jar", "-L", "$U/cookies/delete?a"},
           R"({"cookies":{"b":"2"}})"},
          {"basic", {"-u", "us:p w", "$U/basic-auth/us/p%20w"}, R"({"authenticated":true,"user":"us"})"},
          {"asked for first",
           {"--anyauth", "-u", "u:p", "$U/basic-auth/u/p", "-w", "%{num_connects}"},
           R"({"authenticated":true,"user":"u"}1)"},
          {"bearer", {"--oauth2-bearer", "t0k", "$U/bearer"}, R"({"authenticated":true,"token":"t0k"})"},
          {"many fields of a name", {"-H", "X-A: 1", "-H", "x-a: 2", "$U/headers"}, "…\"1, 2\"…"},
          {"a field without a value", {"-H", "X-A;", "$U/headers"}, "…\"X-A\":\"\"…"},
      });
}

TEST(Curl, bodies_and_uploads) {
  HEDDLE_NEED_TOOLS("curl");
  const TempFolder folder;
  const std::string bytes = noise(3 << 20);
  folder.write("noise", bytes);
  const std::string small = "status %{http_code}, sent %{size_upload}";
  check_all(
      {"--max-body", "4M"}, folder,
      {
          {"a file", {"-X", "POST", "-T", "$D/noise", "$U/echo"}, bytes},
          {"asks before", {"-X", "POST", "-H", "Expect: 100-continue", "-T", "$D/noise", "$U/echo"}, bytes},
          {"asks and is told",
           {"-v", "--stderr", "-", "-X", "POST", "-H", "Expect: 100-continue", "-d", "x", "$U/echo"},
           "…HTTP/1.1 100 Continue…"},
          {"from a pipe, chunked", {"-X", "POST", "-T", "-", "$U/echo"}, bytes, 0, bytes},
          {"as it comes", {"-X", "POST", "-T", ".", "-N", "$U/echo"}, "ab", 0, "ab"},
          {"chunked by wish",
           {"-H", "Transfer-Encoding: chunked", "-d", "@$D/noise", "$U/echo", "-o", "/dev/null", "-w", "%{http_code}"},
           "200"},
          {"data with its type",
           {"-H", "Content-Type: a/b", "--data-binary", "x\ny", "$U/echo", "-i"},
           "…Content-Type: a/b\r\nContent-Length: 3\r\n\r\nx\ny…"},
          {"none", {"-X", "POST", "-d", "", "$U/echo", "-w", "%{http_code}"}, "200"},
          {"a form",
           {"-F", "a=1", "-F", "f=@$D/noise;type=a/b", "$U/upload"},
           "…\"filename\":\"noise\",\"name\":\"f\",\"size\":3145728…"},
          {"a form, shown",
           {"-F", "a=1", "-F", "f=<-", "$U/post"},
           R"(…"form":{"a":"1","f":"of a pipe"}…)",
           0,
           "of a pipe"},
          {"a form in the query", {"-G", "--data-urlencode", "a=ä &", "$U/get"}, "…\"args\":{\"a\":\"ä &\"}…"},
          {"too long, told before",
           {"-X", "POST", "-H", "Expect: 100-continue", "-H", "Content-Length: 5000000", "-T", "$D/noise", "$U/echo",
            "-o", "/dev/null", "-w", small},
           "status 413, sent 0"},
          {"too long, found out",
           {"-X", "POST", "-F", "a=@$D/noise", "-F", "b=@$D/noise", "$U/upload", "-o", "/dev/null", "-w",
            "%{http_code}"},
           "413"},
          {"a body that nobody reads",
           {"-T", "$D/noise", "$U/status/200", "-o", "/dev/null", "-w", "%{http_code}"},
           "200"},
          {"gzip", {"--compressed", "$U/gzip"}, "…\"gzipped\":true…"},
          {"deflate", {"--compressed", "$U/deflate"}, "…\"deflated\":true…"},
          {"not wanted", {"$U/gzip"}, "…\"gzipped\":false…"},
          {"TE is passed over", {"--tr-encoding", "$U/plaintext"}, "Hello, World!"},
          {"events",
           {"-N", "$U/sse?count=2&interval=1"},
           "id: 1\ndata: {\"count\":1}\n\nid: 2\ndata: {\"count\":2}\n\n"},
          {"32 MiB down",
           {"$U/stream-bytes/33554432?chunk_size=65536", "-o", "/dev/null", "-w", "%{size_download}"},
           "33554432"},
      });
}

TEST(Curl, files_ranges_and_conditions) {
  HEDDLE_NEED_TOOLS("curl");
  const TempFolder folder;
  const std::string bytes = noise(2'000'000);
  folder.write("noise", bytes);
  folder.write("part", bytes.substr(0, 777'777));
  check_all(
      {"--root", folder.path()}, folder,
      {
          {"a file", {"$U/static/noise"}, bytes},
          {"a range", {"-r", "5-9", "$U/range/26"}, "fghij"},
          {"the last", {"-r", "-2", "$U/range/26"}, "yz"},
          {"several",
           {"-r", "0-0,1000-1001", "$U/static/noise", "-o", "/dev/null", "-w", "%{http_code} %{content_type}"},
           "…206 multipart/byteranges; boundary=…"},
          {"beyond", {"-r", "26-", "$U/range/26", "-o", "/dev/null", "-w", "%{http_code}"}, "416"},
          {"resumed",
           {"-C", "-", "$U/static/noise", "-o", "$D/part", "-w", "%{http_code} %{size_download}"},
           "206 1222223"},
          {"whole then", {"file://$D/part"}, bytes},
          {"resumed at the end", {"-C", "2000000", "$U/static/noise", "-o", "$D/part", "-w", "%{http_code}"}, "416"},
          {"its tag is kept", {"--etag-save", "$D/tag", "$U/static/noise", "-o", "/dev/null"}, ""},
          {"and is the same",
           {"--etag-compare", "$D/tag", "$U/static/noise", "-w", "%{http_code} %{size_download}"},
           "304 0"},
          {"not newer", {"-z", "$D/noise", "$U/static/noise", "-w", "%{http_code}"}, "304"},
          {"newer",
           {"-z", "Sun, 06 Nov 1994 08:49:37 GMT", "$U/static/noise", "-o", "/dev/null", "-w", "%{http_code}"},
           "200"},
          {"HEAD", {"-I", "$U/static/noise"}, "…Content-Length: 2000000\r\n…"},
          {"not above the folder",
           {"-L", "--path-as-is", "$U/static/%2e%2e/%2e%2e/etc/passwd", "-o", "/dev/null", "-w", "%{http_code}"},
           "404"},
          {"no folder but by its slash", {"-L", "$U/static", "-o", "/dev/null", "-w", "%{http_code}"}, "200"},
      });
}

TEST(Curl, unix_sockets) {
  HEDDLE_NEED_TOOLS("curl");
  const TempFolder folder;
  const std::string abstract = "heddle-curl-" + std::to_string(::getpid());
  check_all(
      {"--listen", "unix:" + folder.path() + "/s", "--listen", "unix:@" + abstract, "--access-log",
       folder.path() + "/log"},
      folder,
      {
          {"a path", {"--unix-socket", "$D/s", "http://localhost/plaintext"}, "Hello, World!"},
          {"an abstract name", {"--abstract-unix-socket", abstract, "http://localhost/plaintext"}, "Hello, World!"},
          {"one connection for many",
           {"--unix-socket", "$D/s", "http://a/bytes/7", "http://a/chunked/2", "-o", "/dev/null", "-o", "/dev/null",
            "-w", "%{num_connects} "},
           "1 0 "},
          {"the URL has the name", {"--unix-socket", "$D/s", "http://a.example/get"}, "…http://a.example/get…"},
          {"redirects stay there",
           {"--unix-socket", "$D/s", "-L", "http://a/redirect/2", "-w", "%{num_redirects} %{http_code}", "-o",
            "/dev/null"},
           "2 200"},
          {"an upload that waits for 100",
           {"--unix-socket", "$D/s", "-H", "Expect: 100-continue", "-d", letters(0, 5000), "http://a/echo"},
           letters(0, 5000)},
          {"TCP beside it", {"$U/plaintext"}, "Hello, World!"},
      });
  EXPECT_NE(folder.read("log").find("\"client\":\"unix:uid=" + std::to_string(::getuid()) + ",pid="),
            std::string::npos);
  EXPECT_EQ(::access((folder.path() + "/s").c_str(), F_OK), -1) << "its file goes with it";
}

}  // namespace
}  // namespace heddle::test
