#include <heddle/http/response_writer.h>

#include <string>
#include <vector>

#include "http_test.h"

namespace heddle::http::test {
namespace {

std::string answer_of(const Handler& handler, std::string method = "GET") {
  std::string answer;
  on_one_p([&] {
    Rig rig(handler);
    rig.stream.send(method + " / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.stream.settle();
    const std::vector<std::string> all = rig.responses(method == "HEAD" ? "h" : "");
    ASSERT_EQ(all.size(), 1u);
    answer = all[0];
  });
  return answer;
}

// A first field that does not fit in the inline array went to the string, and was not found there again.
TEST(ResponseWriter, a_field_is_replaced_however_long_it_is) {
  for (const std::size_t size : {1u, 1000u, 1020u, 1021u, 1022u, 3000u}) {
    EXPECT_EQ(answer_of([size](Request&, ResponseWriter& w) {
                ASSERT_TRUE(w.set_header("A", std::string(size, 'x')));
                ASSERT_TRUE(w.set_header("a", "1"));
                ASSERT_TRUE(w.add_header("B", "2"));
              }),
              "200 cl=0 a=1 B=2 []")
        << size;
  }
}

TEST(ResponseWriter, goes_back_to_a_mark) {
  const std::string long_value(3000, 'x');
  for (const std::string& before : {std::string("1"), long_value}) {
    for (const std::string& after : {std::string("2"), long_value}) {
      for (const bool written : {false, true}) {
        for (const char* method : {"GET", "HEAD"}) {
          const std::string answer = answer_of(
              [&](Request&, ResponseWriter& w) {
                w.status(201);
                w.set_header("A", before);
                w.set_header("Content-Length", "4");
                const ResponseWriter::Mark mark = w.mark();
                w.status(204);
                w.set_header("A", after);
                w.add_header("B", after);
                w.set_header("Content-Length", "9");
                if (written) {
                  w.status(200);
                  ASSERT_TRUE(w.write("a body"));
                }
                ASSERT_TRUE(w.rewind(mark));
                EXPECT_FALSE(w.started());
                EXPECT_EQ(w.status(), 201);
                ASSERT_TRUE(w.write("body"));
              },
              method);
          EXPECT_EQ(answer, "201 cl=4 A=" + before + (std::string_view(method) == "HEAD" ? "" : " [body]"));
        }
      }
    }
  }
}

TEST(ResponseWriter, goes_back_to_nothing_and_from_any_kind_of_body) {
  auto rewound = [](auto write) {
    return answer_of([&](Request&, ResponseWriter& w) {
      const ResponseWriter::Mark mark = w.mark();
      write(w);
      ASSERT_TRUE(w.rewind(mark));
    });
  };
  EXPECT_EQ(rewound([](ResponseWriter&) {}), "200 cl=0 []");
  EXPECT_EQ(rewound([](ResponseWriter& w) { w.write(std::string(5000, 'x')); }), "200 cl=0 []");
  EXPECT_EQ(rewound([](ResponseWriter& w) {
              w.set_header("Content-Length", "9");
              w.write("x");
            }),
            "200 cl=0 []");
  EXPECT_EQ(rewound([](ResponseWriter& w) {
              w.status(304);
              w.set_header("ETag", "\"x\"");
              w.write("");
            }),
            "200 cl=0 []");
}

TEST(ResponseWriter, does_not_take_back_what_may_be_sent) {
  EXPECT_EQ(answer_of([](Request&, ResponseWriter& w) {
              const ResponseWriter::Mark mark = w.mark();
              w.set_header("A", "1");
              w.write("sent");
              w.flush();
              EXPECT_FALSE(w.rewind(mark));
              EXPECT_FALSE(w.status(500));
              w.write("more");
            }),
            "200 chunked A=1 [sentmore]");
  EXPECT_EQ(answer_of([](Request&, ResponseWriter& w) {
              const ResponseWriter::Mark mark = w.mark();
              w.write(std::string(100'000, 'x'));  // outgrows the buffer
              EXPECT_FALSE(w.rewind(mark));
            }),
            "200 chunked [size 100000]");
  // Nor what was there at the mark.
  EXPECT_EQ(answer_of([](Request&, ResponseWriter& w) {
              w.write("first");
              const ResponseWriter::Mark mark = w.mark();
              w.write("second");
              EXPECT_FALSE(w.rewind(mark));
            }),
            "200 cl=11 [firstsecond]");
}

}  // namespace
}  // namespace heddle::http::test
