// Bodies as tables. Each is read whole, split at every byte, byte by byte, and into small buffers, and must come out the
// same; cut at every byte, it must be an error.
#include <heddle/http/multipart.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "http_test.h"

namespace heddle::http::test {
namespace {

// Gives out `text` in pieces that end at `cuts`; and in bytes if `bytewise`.
struct Pieces {
  std::string text;
  std::vector<std::size_t> cuts{};
  bool bytewise = false;
  Code end = Code::kOk;  // what the source says in the end, if not 0
  std::size_t at = 0;

  Result<std::size_t> operator()(std::span<std::byte> to) {
    EXPECT_FALSE(to.empty()) << "asked for nothing: would be taken for the end";
    std::size_t stop = bytewise ? std::min(at + 1, text.size()) : text.size();
    for (const std::size_t cut : cuts) {
      if (cut > at) stop = std::min(stop, cut);
    }
    const std::size_t n = std::min(to.size(), stop - at);
    if (n == 0 && end != Code::kOk) return std::unexpected(Error{end, 0, "source"});
    std::memcpy(to.data(), text.data() + at, n);
    at += n;
    return n;
  }
};

// "name(file)type=data|…", with the error that ended it, if one did.
std::string take_apart(Pieces source, const MultipartLimits& limits = {}, std::size_t step = 1000) {
  MultipartReader parts(std::move(source), "b", limits);
  std::string out;
  auto failed = [&](const Error& error) {
    // It stays.
    std::byte byte{};
    EXPECT_EQ(parts.next().error(), error);
    EXPECT_EQ(parts.read({&byte, 1}).error(), error);
    return out + "!" + to_string(error.code);
  };
  for (;;) {
    const Result<bool> more = parts.next();
    if (!more) return failed(more.error());
    if (!*more) break;
    if (!out.empty()) out += '|';
    out += parts.name();
    if (parts.filename()) out += "(" + *parts.filename() + ")";
    out.append(parts.content_type()).append("=");
    std::vector<std::byte> buffer(step);
    for (;;) {
      const Result<std::size_t> n = parts.read(buffer);
      if (!n) return failed(n.error());
      if (*n == 0) break;
      out.append(reinterpret_cast<const char*>(buffer.data()), *n);
    }
  }
  EXPECT_FALSE(parts.next().value());
  return out;
}

std::string skip_through(Pieces source, const MultipartLimits& limits = {}) {
  MultipartReader parts(std::move(source), "b", limits);
  std::string names;
  for (;;) {
    const Result<bool> more = parts.next();
    if (!more) return names + "!" + to_string(more.error().code);
    if (!*more) return names;
    names += parts.name();
  }
}

std::string part(std::string name, std::string data, std::string more = {}) {
  return "--b\r\nContent-Disposition: form-data; name=" + name + "\r\n" + more + "\r\n" + data + "\r\n";
}
std::string with(std::string disposition, std::string more = {}) {
  return "--b\r\nContent-Disposition: " + disposition + "\r\n" + more + "\r\nx\r\n--b--";
}
const std::string kEnd = "--b--\r\n";

void expect(const std::string& body, const std::string& out, const MultipartLimits& limits = {}) {
  SCOPED_TRACE(testing::PrintToString(body.substr(0, 200)));
  ASSERT_EQ(take_apart({body}, limits), out);
  ASSERT_EQ(take_apart({body, {}, true}, limits), out) << "byte by byte";
  ASSERT_EQ(take_apart({body, {}, true}, limits, 1), out) << "byte by byte, into one";
  for (const std::size_t step : {1, 2, 3, 7}) ASSERT_EQ(take_apart({body}, limits, step), out) << "into " << step;
  for (std::size_t i = 1; i < body.size(); ++i) ASSERT_EQ(take_apart({body, {i}}, limits), out) << "split at " << i;
}

TEST(Multipart, parts_come_whole_at_every_split) {
  expect(part("a", "1") + kEnd, "a=1");
  expect(part("a", "1") + part("\"b c\"", "two\r\nlines") + part("a", "") + kEnd, "a=1|b c=two\r\nlines|a=");
  expect(part("f; filename=\"x.txt\"", "data", "content-type: text/plain\r\nX-Other: y\r\n") + kEnd,
         "f(x.txt)text/plain=data");
  expect(part("f; filename=\"\"", "") + kEnd, "f()=");
  expect(kEnd, "");  // what browsers send for a form without fields
  expect("--b--", "");
}

TEST(Multipart, data_may_look_like_a_delimiter_for_a_while) {
  for (const char* data : {"\r", "\n", "\r\n", "\r\n-", "\r\n--", "\r\n--x", "-", "\r\r\n--\r\r\n--\r", "\r\n\r\n--a",
                           "\n--b", "\r--b", "\r\n-b", "\r\n --b", "\r\n--B", "\r\n\r\n\r\n"}) {
    expect(part("a", data) + kEnd, std::string("a=") + data);
  }
  expect(part("a", "x--b") + kEnd, "a=x--b");
  expect(part("a", std::string("\0\xff\x80", 3)) + kEnd, "a=" + std::string("\0\xff\x80", 3));
}

TEST(Multipart, part_without_data_may_leave_out_its_line_end) {
  expect("--b\r\nContent-Disposition: form-data; name=a\r\n\r\n--b--", "a=");
  expect("--b\r\nContent-Disposition: form-data; name=a\r\n\r\n" + part("c", "1") + kEnd, "a=|c=1");
}

TEST(Multipart, what_stands_around_the_parts_is_skipped) {
  expect("preamble\r\nof two lines\r\n" + part("a", "1") + kEnd, "a=1");
  expect("\r\n" + part("a", "1") + kEnd, "a=1");
  expect("--\r\n--x\r\n" + part("a", "1") + kEnd, "a=1");
  expect("x--b\r\n" + part("a", "1") + kEnd, "a=1");
  expect(part("a", "1") + "--b-- \t\r\nepilogue\r\n--b\r\nContent-Disposition: form-data; name=z\r\n\r\n", "a=1");
  expect("--b \t \r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b--\t", "a=1");
}

TEST(Multipart, delimiter_lines_that_go_on_are_errors) {
  for (const char* bad :
       {"--bx\r\n", "--b-\r\n", "--b-x\r\n", "--b--x", "--b--\rx", "--b--\r", "--b\n", "--b\rx\r\n", "--b- -\r\n"})
    expect(part("a", "1") + bad + part("c", "2") + kEnd, "a=1!protocol error");
  expect("--bx\r\n" + kEnd, "!protocol error");
  expect(part("a", "1\r\n--bc") + kEnd, "a=1!protocol error");
}

TEST(Multipart, bodies_without_their_end_are_errors) {
  expect("", "!protocol error");
  expect("text", "!protocol error");
  expect("--b", "!protocol error");
  expect("--b\r\n", "!protocol error");
  expect(part("a", "1"), "a=1!protocol error");
  expect(part("a", "1") + "--b", "a=1!protocol error");
  const std::string whole = part("a", "1\r\n2") + part("f; filename=g", "", "Content-Type: x/y\r\n") + kEnd;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    for (const bool bytewise : {false, true}) {
      const std::string out = take_apart({whole.substr(0, size), {}, bytewise});
      if (whole.substr(0, size).ends_with("--b--")) {
        EXPECT_EQ(out, "a=1\r\n2|f(g)x/y=");
      } else {
        EXPECT_TRUE(out.ends_with("!protocol error")) << size << " " << out;
      }
      // The source's own error wins.
      EXPECT_TRUE(take_apart({whole.substr(0, size), {}, bytewise, Code::kEof}).ends_with("!end of stream")) << size;
    }
  }
}

TEST(Multipart, skipping_finds_the_same_parts) {
  const std::string body = part("a", std::string(40'000, 'x')) + part("c", "\r\n--") + part("d", "") + kEnd;
  EXPECT_EQ(skip_through({body}), "acd");
  EXPECT_EQ(skip_through({body, {}, true}), "acd");
  EXPECT_EQ(skip_through({body}, {.max_part_bytes = 40'000}), "acd");
  EXPECT_EQ(skip_through({body}, {.max_part_bytes = 39'999}), "a!limit reached");
}

TEST(Multipart, fields_are_held_to_the_grammar) {
  auto fields = [](std::string text) { return "--b\r\n" + text + "\r\nx\r\n--b--"; };
  const std::string good = "Content-Disposition: form-data; name=a\r\n";
  expect(fields(good), "a=x");
  expect(fields("X:\r\n" + good + "Y:  z \t\r\n"), "a=x");
  expect(fields("CONTENT-DISPOSITION:form-data ;; name=a ; \r\n"), "a=x");
  expect(fields(good + "Content-Transfer-Encoding: 8BIT\r\n"), "a=x");
  for (const char* bad : {"X\r\n", "X : y\r\n", " X: y\r\n", ": y\r\n", "X: y\r\n z\r\n", "X: a\rb\r\n", "X: a\nb\r\n",
                          "X: \x01\r\n", "Content-Disposition: form-data; name=a\r\n", "\x80: y\r\n"}) {
    expect(fields(good + bad), "!protocol error");
  }
  expect(fields(good + std::string("X: \0\r\n", 6)), "!protocol error");
  expect(fields(""), "!protocol error");
  expect(fields("X: y\r\n"), "!protocol error");
  expect(fields(good + "Content-Type: a/b\r\ncontent-type: a/b\r\n"), "!protocol error");
  expect(fields(good + "Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: 8bit\r\n"), "!protocol error");
  expect(fields(good + "Content-Transfer-Encoding: base64\r\n"), "!not supported");
}

TEST(Multipart, dispositions_are_read_strictly) {
  expect(with("form-data; name=\"\""), "=x");
  expect(with("Form-Data; NAME=\"a;b\"; x=y"), "a;b=x");
  expect(with("form-data; name=\"a\\\"b\\\\c\\d\""), "a\"b\\c\\d=x");
  expect(with("form-data; name=\"%22%0D\xc3\xa4\""), "%22%0D\xc3\xa4=x");
  expect(with("form-data; name=a; filename=b.c"), "a(b.c)=x");
  expect(with("form-data; name=a; filename=\"C:\\dir\\b c\""), "a(b c)=x");
  expect(with("form-data; name=a; filename=\"../../etc/passwd\""), "a(passwd)=x");
  expect(with("form-data; name=a; filename=\"..\""), "a()=x");
  expect(with("form-data; name=a; filename=\"x/\""), "a()=x");
  expect(with("form-data; name=a; filename*=UTF-8''x%20y"), "a=x");
  expect(with("form-data; name=a; filename=b; filename*=UTF-8''c"), "a(b)=x");
  for (const char* bad :
       {"form-data", "form-data; filename=a", "attachment; name=a", "form-data; name",
        "form-data; name=", "form-data; name=a b", "form-data; name=\"a", "form-data; name=\"a\"b", "form-data name=a",
        "", "form-data; name=a; name=b", "form-data; name=a; filename=b; filename=c", "form-data; name =a",
        "form-data; name= a", "form-data; =a", "form-data; name=a; filename=b c.txt"}) {
    expect(with(bad), "!protocol error");
  }
}

TEST(Multipart, limits_hold_to_the_byte) {
  const std::string two = part("a", "12345") + part("c", "123456") + kEnd;
  expect(two, "a=12345|c=123456", {.max_parts = 2, .max_part_bytes = 6});
  expect(two, "a=12345!limit reached", {.max_parts = 1});
  EXPECT_TRUE(take_apart({two}, {.max_part_bytes = 5}).ends_with("!limit reached"));
  EXPECT_EQ(skip_through({two, {}, true}, {.max_part_bytes = 4}), "a!limit reached");

  const std::string head = "Content-Disposition: form-data; name=a\r\n";  // 40 bytes
  ASSERT_EQ(head.size(), 40u);
  expect(part("a", "x") + kEnd, "a=x", {.max_header_bytes = 40});
  expect(part("a", "x") + kEnd, "!limit reached", {.max_header_bytes = 37});
  expect(part("a", "x", "X: y\r\n") + kEnd, "a=x", {.max_header_bytes = 46});
  expect(part("a", "x", "X: y\r\n") + kEnd, "!limit reached", {.max_header_bytes = 43});
  expect("--b" + std::string(50, ' ') + "\r\n" + head, "!limit reached", {.max_header_bytes = 45});
  EXPECT_EQ(take_apart({part("a", "x", "X: " + std::string(100'000, 'y') + "\r\n") + kEnd}), "!limit reached");
  EXPECT_EQ(
      take_apart({part("a", "x", "X: " + std::string(100'000, 'y') + "\r\n") + kEnd}, {.max_header_bytes = 200'000}),
      "a=x");

  expect("12345678\r\n" + part("a", "x") + kEnd, "a=x", {.max_outside_bytes = 10});
  expect("123456789ab\r\n" + part("a", "x") + kEnd, "!limit reached", {.max_outside_bytes = 10});
  expect(part("a", "x") + "--b--\r\n12345678", "a=x", {.max_outside_bytes = 10});
  expect(part("a", "x") + "--b--\r\n123456789", "a=x!limit reached", {.max_outside_bytes = 10});
  expect(part("a", "x") + "--b--          x", "a=x!limit reached", {.max_outside_bytes = 10});
  expect(part("a", "x") + "--b--         x", "a=x!protocol error", {.max_outside_bytes = 10});
}

TEST(Multipart, large_data_survives_with_every_alignment) {
  std::string data;
  std::minstd_rand random(7);
  while (data.size() < 70'000) {
    data += std::string_view("\r\n--\r\n-\r\r\n--xb-ab").substr(random() % 8, random() % 9);
    data += static_cast<char>('c' + random() % 20);
  }
  for (std::size_t shift = 0; shift < 20; ++shift) {
    const std::string body = part("a", std::string(shift, 'z') + data) + kEnd;
    const std::string out = take_apart({body, {16'000, 16'001, 16'390, 40'000}}, {}, 3000 + shift);
    ASSERT_TRUE(out == "a=" + std::string(shift, 'z') + data) << shift;
  }
}

TEST(Multipart, damaged_bodies_read_the_same_at_any_split) {
  const std::string seed =
      "p\r\n" + part("a", "1\r\n-2") + part("f; filename=\"g\\h\"", "--b\r\r\n", "Content-Type: x\r\n") + kEnd;
  const std::string_view alphabet("\r\n-b \":;=\\xA\0\x80", 14);
  for (unsigned round = 0; round < 3000; ++round) {
    std::minstd_rand random(round + 1);
    std::string body = seed;
    for (unsigned i = 0; i <= round % 4; ++i) {
      const std::size_t at = random() % body.size();
      switch (random() % 3) {
        case 0: body[at] = alphabet[random() % alphabet.size()]; break;
        case 1: body.erase(at, random() % 5 + 1); break;
        default: body.insert(at, 1, alphabet[random() % alphabet.size()]); break;
      }
    }
    const MultipartLimits limits{
        .max_parts = 3, .max_header_bytes = 120, .max_part_bytes = 60, .max_outside_bytes = 30};
    const std::string whole = take_apart({body}, limits, 1);
    ASSERT_EQ(take_apart({body, {}, true}, limits, 1), whole) << round << testing::PrintToString(body);
    ASSERT_EQ(take_apart({body, {random() % body.size(), random() % body.size()}}, limits, 1), whole)
        << round << testing::PrintToString(body);
  }
}

// --- over a request ---

std::string open_with(std::string_view type_lines) {
  std::string out;
  on_one_p([&] {
    Rig rig([](Request& r, ResponseWriter& w) {
      Result<MultipartReader> parts = MultipartReader::open(r);
      if (!parts) return static_cast<void>(w.write(to_string(parts.error().code)));
      const Result<bool> more = parts->next();
      w.write(more ? parts->name() : to_string(more.error().code));
    });
    rig.stream.send("POST / HTTP/1.1\r\nHost: a\r\n" + std::string(type_lines) +
                    "Content-Length: 55\r\n\r\n--b\r\nContent-Disposition: form-data; name=n\r\n\r\n1\r\n--b--");
    rig.stream.settle();
    out = rig.responses().at(0);
  });
  return out.substr(out.find('['));
}

TEST(Multipart, boundary_comes_from_the_content_type) {
  EXPECT_EQ(open_with("Content-Type: multipart/form-data; boundary=b\r\n"), "[n]");
  EXPECT_EQ(open_with("Content-Type: Multipart/Form-Data; charset=x; BOUNDARY=\"b\"\r\n"), "[n]");
  EXPECT_EQ(open_with("Content-Type: multipart/form-data; boundary=c\r\n"), "[protocol error]");
  for (const char* bad : {"multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"\"",
                          "multipart/form-data; boundary=\"b \"", "multipart/form-data; boundary=b; boundary=b",
                          "multipart/form-data; boundary=\"b", "multipart/form-data; boundary=\"b\x80\"",
                          "multipart/form-data; boundary=b c", "multipart/form-data; boundary=\"b{\""}) {
    EXPECT_EQ(open_with("Content-Type: " + std::string(bad) + "\r\n"), "[protocol error]") << bad;
  }
  EXPECT_EQ(open_with("Content-Type: multipart/form-data; boundary=" + std::string(71, 'b') + "\r\n"),
            "[protocol error]");
  EXPECT_EQ(open_with(""), "[not supported]");
  EXPECT_EQ(open_with("Content-Type: multipart/mixed; boundary=b\r\n"), "[not supported]");
  EXPECT_EQ(
      open_with("Content-Type: multipart/form-data; boundary=b\r\nContent-Type: multipart/form-data; boundary=b\r\n"),
      "[not supported]");
}

}  // namespace
}  // namespace heddle::http::test
