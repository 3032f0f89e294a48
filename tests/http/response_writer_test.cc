// What a middleware can do with a response: read and remove fields, stand in the way of its body, cut it.
#include <heddle/http/body_filter.h>

#include <optional>
#include <string>

#include "ask.h"

namespace heddle::http::test {
namespace {

// Puts a letter before each write.
class Mark final : public BodyFilter {
 public:
  Mark(ResponseWriter& writer, char letter) : BodyFilter(writer), letter_(letter) {}
  void end() { leave(); }

 private:
  Result<void> write(ResponseWriter& writer, std::string_view bytes) override {
    return writer.write(letter_ + std::string(bytes));
  }
  Result<void> flush(ResponseWriter& writer) override { return writer.flush(); }
  void forget() noexcept override {}
  const char letter_;
};

// Keeps all until its end.
class Keep final : public BodyFilter {
 public:
  explicit Keep(ResponseWriter& writer) : BodyFilter(writer) {}
  void pass(ResponseWriter& writer) {
    leave();
    writer.write(kept_);
  }

 private:
  Result<void> write(ResponseWriter&, std::string_view bytes) override {
    kept_ += bytes;
    return {};
  }
  Result<void> flush(ResponseWriter&) override { return {}; }
  void forget() noexcept override { kept_.clear(); }
  std::string kept_;
};

TEST(BodyFilter, the_innermost_comes_first_and_all_leave_in_order) {
  const Handler handler = [](Request&, ResponseWriter& w) {
    const Mark outer(w, 'o');
    {
      const Mark inner(w, 'i');
      w.write("1");
    }
    w.write("2");
  };
  EXPECT_EQ(ask(handler, "GET /").body, "oi1o2");
}

TEST(BodyFilter, forgets_what_it_has_when_the_response_begins_anew) {
  const Handler handler = [](Request&, ResponseWriter& w) {
    Keep keep(w);
    Mark letter(w, 'a');
    const ResponseWriter::Mark mark = w.mark();
    w.set_header("X", "1");
    w.write("lost");
    EXPECT_TRUE(w.started());
    EXPECT_TRUE(w.rewind(mark));
    EXPECT_FALSE(w.started());
    EXPECT_TRUE(w.set_header("Y", "1"));
    w.write("sent");
    letter.end();
    keep.pass(w);
  };
  const Answer answer = ask(handler, "GET /");
  EXPECT_EQ(answer.body, "asent");
  EXPECT_FALSE(answer.has("X"));
  EXPECT_EQ(answer.field("Y"), "1");
}

TEST(ResponseWriter, fields_can_be_read_and_taken_away) {
  const Handler handler = [](Request&, ResponseWriter& w) {
    EXPECT_EQ(w.header("A"), std::nullopt);
    w.add_header("A", "1");
    w.add_header("Ab", "x");
    w.add_header("a", "2");
    EXPECT_EQ(w.header("a"), "1");
    EXPECT_EQ(w.header("A", 1), "2");
    EXPECT_EQ(w.header("A", 2), std::nullopt);
    EXPECT_TRUE(w.remove_header("A"));
    EXPECT_EQ(w.header("A"), std::nullopt);
    EXPECT_EQ(w.header("AB"), "x");
    EXPECT_EQ(w.content_length(), std::nullopt);
    w.set_header("Content-Length", "7");
    EXPECT_EQ(w.content_length(), 7U);
    EXPECT_EQ(w.header("Content-Length"), std::nullopt);
    EXPECT_TRUE(w.remove_header("content-length"));
    EXPECT_EQ(w.content_length(), std::nullopt);
    w.write("body");
    EXPECT_FALSE(w.remove_header("Ab"));
  };
  const Answer answer = ask(handler, "GET /");
  EXPECT_EQ(answer.field("Content-Length"), "4");
  EXPECT_EQ(answer.field("Ab"), "x");
  EXPECT_FALSE(answer.has("A"));
}

TEST(ResponseWriter, a_value_that_was_read_can_be_set) {
  for (const std::size_t size : {10, 3000}) {  // in the writer itself, and outgrown
    const std::string long_value(size, 'v');
    const Handler handler = [&](Request&, ResponseWriter& w) {
      w.set_header("A", "first");
      w.set_header("B", long_value);
      w.set_header("C", "third");
      w.set_header("B", *w.header("B"));
      for (const char* name : {"D", "E", "F"}) w.add_header(name, *w.header("B"));
      w.set_header("A", *w.header("A"));
    };
    const Answer answer = ask(handler, "GET /");
    EXPECT_EQ(answer.field("A"), "first");
    for (const char* name : {"B", "D", "E", "F"}) EXPECT_EQ(answer.field(name), long_value) << name;
    EXPECT_EQ(answer.field("C"), "third");
  }
}

TEST(ResponseWriter, a_writer_that_is_cut_shows_it) {
  const Handler early = [](Request&, ResponseWriter& w) {
    w.write("some");
    w.cut();
  };
  EXPECT_EQ(ask(early, "GET /").status, 0);
  const Handler late = [](Request&, ResponseWriter& w) {
    w.write("some");
    w.flush();
    w.cut();
  };
  const Answer answer = ask(late, "GET /");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "some");
  EXPECT_FALSE(answer.whole);
}

}  // namespace
}  // namespace heddle::http::test
