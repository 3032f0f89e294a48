#include <heddle/http/test_script.h>

#include <array>
#include <utility>

#include <heddle/core/go.h>

namespace heddle::http::test {

Script& Script::add(Kind kind, std::string bytes, std::size_t size, Duration pause) {
  steps_.push_back({kind, std::move(bytes), size, pause});
  return *this;
}

Script& Script::send(std::string bytes) { return add(Kind::kSend, std::move(bytes)); }

Script& Script::send_split(std::string_view bytes, const std::vector<std::size_t>& cuts) {
  std::size_t at = 0;
  for (const std::size_t cut : cuts) {
    if (cut <= at || cut >= bytes.size()) continue;
    send(std::string(bytes.substr(at, cut - at)));
    at = cut;
  }
  return send(std::string(bytes.substr(at)));
}

Script& Script::send_bytewise(std::string_view bytes) {
  for (const char c : bytes) send(std::string(1, c));
  return *this;
}

Script& Script::expect(std::string bytes) { return add(Kind::kExpect, std::move(bytes)); }
Script& Script::expect_until(std::string end) { return add(Kind::kExpectUntil, std::move(end)); }
Script& Script::expect_size(std::size_t n) { return add(Kind::kExpectSize, {}, n); }
Script& Script::expect_end() { return add(Kind::kExpectEnd); }
Script& Script::expect_reset() { return add(Kind::kExpectReset); }
Script& Script::pause(Duration d) { return add(Kind::kPause, {}, 0, d); }
Script& Script::half_close() { return add(Kind::kHalfClose); }
Script& Script::reset() { return add(Kind::kReset); }

Script& Script::patience(Duration d) {
  patience_ = d;
  return *this;
}

// One play under way.
struct ScriptRun {
  using Kind = Script::Kind;

  const Script& script;
  TestConn& conn;
  Played played = {};
  std::size_t taken = 0;  // of what was received: what earlier steps have had

  [[nodiscard]] std::string_view fresh() const { return std::string_view(played.received).substr(taken); }

  Played run() {
    for (std::size_t i = 0; i < script.steps_.size(); ++i) {
      const Script::Step& step = script.steps_[i];
      const TimePoint until = now() + script.patience_;
      conn.set_deadline(until);
      std::string problem = take(step);
      if (problem.empty()) continue;
      played.problem = "step " + std::to_string(i + 1) + ", " + name(step) + ": " + problem;
      break;
    }
    conn.close();
    return std::move(played);
  }

  static std::string name(const Script::Step& step) {
    switch (step.kind) {
      case Kind::kSend: return "send " + to_literal(step.bytes);
      case Kind::kExpect: return "expect " + to_literal(step.bytes);
      case Kind::kExpectUntil: return "expect up to " + to_literal(step.bytes);
      case Kind::kExpectSize: return "expect " + std::to_string(step.size) + " bytes";
      case Kind::kExpectEnd: return "expect the end";
      case Kind::kExpectReset: return "expect a reset";
      case Kind::kPause: return "pause";
      case Kind::kHalfClose: return "half-close";
      case Kind::kReset: return "reset";
    }
    return {};
  }

  // Why it did not come out; empty: it did.
  std::string take(const Script::Step& step) {
    switch (step.kind) {
      case Kind::kSend: {
        const Result<void> written = conn.write(bytes_of(step.bytes));
        return written ? "" : written.error().message();
      }
      case Kind::kExpect:
        while (fresh().size() < step.bytes.size() && step.bytes.starts_with(fresh())) {
          if (std::string why = more(); !why.empty()) return why + " behind " + to_literal(fresh());
        }
        if (!fresh().starts_with(step.bytes)) return "came " + to_literal(fresh());
        taken += step.bytes.size();
        return {};
      case Kind::kExpectUntil:
        while (fresh().find(step.bytes) == std::string_view::npos) {
          if (std::string why = more(); !why.empty()) return why + " behind " + to_literal(fresh());
        }
        taken += fresh().find(step.bytes) + step.bytes.size();
        return {};
      case Kind::kExpectSize:
        while (fresh().size() < step.size) {
          if (std::string why = more(); !why.empty()) return why + " behind " + to_literal(fresh());
        }
        taken += step.size;
        return {};
      case Kind::kExpectEnd: {
        const std::string why = more();
        if (!fresh().empty()) return "came " + to_literal(fresh());
        return why == kEnd ? "" : why;
      }
      case Kind::kExpectReset:
        for (;;) {
          const std::string why = more();
          if (why == kReset) return {};
          if (!why.empty()) return why;
        }
      case Kind::kPause: heddle::sleep(step.pause); return {};
      case Kind::kHalfClose: {
        const Result<void> done = conn.close_write();
        return done ? "" : done.error().message();
      }
      case Kind::kReset: conn.reset(); return {};
    }
    return {};
  }

  // Reads on. Returns why nothing more comes; empty: something did.
  std::string more() {
    std::array<std::byte, 4096> buf;
    const Result<std::size_t> n = conn.read(buf);
    if (!n) return n.error().code == Code::kReset ? kReset : n.error().message();
    if (*n == 0) return kEnd;
    played.received.append(reinterpret_cast<const char*>(buf.data()), *n);
    return {};
  }

  static constexpr const char* kEnd = "the end came";
  static constexpr const char* kReset = "a reset came";
};

Played play(const Script& script, TestConn& conn) { return ScriptRun{script, conn}.run(); }

std::string to_literal(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : bytes) {
    const auto u = static_cast<unsigned char>(c);
    switch (c) {
      case '\r': out += "\\r"; break;
      case '\n': out += "\\n"; break;
      case '\t': out += "\\t"; break;
      case '\\': out += "\\\\"; break;
      case '"': out += "\\\""; break;
      default:
        if (u >= 0x20 && u < 0x7f) {
          out += c;
        } else {
          out += {'\\', 'x', kDigits[u >> 4], kDigits[u & 15]};
        }
    }
  }
  return out + "\"";
}

}  // namespace heddle::http::test
