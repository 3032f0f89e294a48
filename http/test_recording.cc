// The text of a recording, its files, and the tap.
#include <heddle/http/test_recording.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include <heddle/http/test_script.h>

namespace heddle::http::test {
namespace {

constexpr std::string_view kFirstLine = "heddle-recording 1";
constexpr std::size_t kLineBytes = 100;

std::string seconds(Duration d) {
  char text[40];
  const long long ns = d.count();
  std::snprintf(text, sizeof text, "%lld.%09lld", ns / 1'000'000'000, ns % 1'000'000'000);
  return text;
}

std::optional<Duration> parse_seconds(std::string_view text) {
  if (text == "-") return Duration::zero();
  const std::size_t dot = text.find('.');
  const std::string_view whole = text.substr(0, dot);
  std::string part(dot == std::string_view::npos ? "" : text.substr(dot + 1));
  if (part.size() > 9) return std::nullopt;
  part.resize(9, '0');
  std::int64_t s = 0;
  std::int64_t ns = 0;
  if (std::from_chars(whole.data(), whole.data() + whole.size(), s).ptr != whole.data() + whole.size() || s < 0 ||
      whole.empty() || s > 9'000'000'000)
    return std::nullopt;
  if (std::from_chars(part.data(), part.data() + 9, ns).ptr != part.data() + 9 || ns < 0) return std::nullopt;
  return Duration(s * 1'000'000'000 + ns);
}

// Undoes to_literal(), without its quotes.
std::optional<std::string> unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    if (++i == text.size()) return std::nullopt;
    switch (text[i]) {
      case 'r': out += '\r'; break;
      case 'n': out += '\n'; break;
      case 't': out += '\t'; break;
      case '\\':
      case '"': out += text[i]; break;
      case 'x': {
        unsigned value = 0;
        const std::string_view digits = text.substr(i + 1, 2);
        if (digits.size() != 2 || std::from_chars(digits.data(), digits.data() + 2, value, 16).ptr != digits.data() + 2)
          return std::nullopt;
        out += static_cast<char>(value);
        i += 2;
        break;
      }
      default: return std::nullopt;
    }
  }
  return out;
}

std::unexpected<Error> bad() { return std::unexpected(Error{Code::kInvalid, 0, "parse a recording"}); }

// "> 0.5 end" without its first character.
std::optional<Recording::Event> parse_event(Side from, std::string_view rest) {
  Recording::Event event{.from = from};
  if (!rest.starts_with(' ')) return std::nullopt;
  rest.remove_prefix(1);
  const std::size_t blank = rest.find(' ');
  const std::optional<Duration> at = parse_seconds(rest.substr(0, blank));
  if (!at) return std::nullopt;
  event.at = *at;
  if (blank == std::string_view::npos) return event;
  const std::string_view word = rest.substr(blank + 1);
  if (word == "end") {
    event.kind = Recording::Kind::kEnd;
  } else if (word == "reset") {
    event.kind = Recording::Kind::kReset;
  } else {
    return std::nullopt;
  }
  return event;
}

}  // namespace

std::string Recording::said_by(Side side) const {
  std::string all;
  for (const Event& event : events) {
    if (event.from == side) all += event.bytes;
  }
  return all;
}

std::string Recording::to_text(Times times) const {
  std::string text(kFirstLine);
  text += '\n';
  for (const Event& event : events) {
    text += event.from == Side::kClient ? "> " : "< ";
    text += times == Times::kKept ? seconds(event.at) : "-";
    if (event.kind == Kind::kEnd) text += " end";
    if (event.kind == Kind::kReset) text += " reset";
    text += '\n';
    for (std::string_view rest = event.bytes; !rest.empty();) {
      const std::size_t eol = rest.substr(0, kLineBytes).find('\n');
      const std::string_view line = rest.substr(0, eol == std::string_view::npos ? kLineBytes : eol + 1);
      rest.remove_prefix(line.size());
      const std::string shown = to_literal(line);
      text += "|" + shown.substr(1, shown.size() - 2) + '\n';
    }
  }
  return text;
}

Result<Recording> Recording::parse(std::string_view text) {
  Recording recording;
  for (bool first = true; !text.empty(); first = false) {
    const std::size_t eol = text.find('\n');
    const std::string_view line = text.substr(0, eol);
    text.remove_prefix(eol == std::string_view::npos ? text.size() : eol + 1);
    if (first) {
      if (line != kFirstLine) return bad();
    } else if (line.empty() || line[0] == '#') {
    } else if (line[0] == '|') {
      const std::optional<std::string> bytes = unescaped(line.substr(1));
      if (!bytes || recording.events.empty() || recording.events.back().kind != Kind::kBytes) return bad();
      recording.events.back().bytes += *bytes;
    } else if (line[0] == '>' || line[0] == '<') {
      std::optional<Event> event = parse_event(line[0] == '>' ? Side::kClient : Side::kServer, line.substr(1));
      if (!event) return bad();
      recording.events.push_back(std::move(*event));
    } else {
      return bad();
    }
    if (eol == std::string_view::npos) break;
  }
  return recording;
}

Result<void> Recording::save(const std::string& path, Times times) const {
  errno = 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << to_text(times);
  file.close();
  if (!file) return std::unexpected(Error::from_errno(errno, "save a recording"));
  return {};
}

Result<Recording> Recording::load(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (!file) return std::unexpected(Error::from_errno(errno, "load a recording"));
  return parse(text.str());
}

// ---- the tap ----

Tap::Tap() : begin_(nanotime()) {}

// The lock is held for longer than such locks should be, and what it guards grows under it: Transport::close() may not park.
Recording Tap::recording() const {
  const LockGuard guard(lock_);
  return recording_;
}

void Tap::note(Side from, Recording::Kind kind, std::string bytes) {
  const LockGuard guard(lock_);
  recording_.events.push_back({from, kind, std::move(bytes), Duration(nanotime() - begin_)});
}

namespace {

class TappedTransport final : public net::Transport {
 public:
  TappedTransport(std::unique_ptr<net::Transport> inner, Side side, std::shared_ptr<Tap> tap)
      : inner_(std::move(inner)),
        us_(side),
        them_(side == Side::kClient ? Side::kServer : Side::kClient),
        tap_(std::move(tap)) {}
  ~TappedTransport() override { close(); }

  Result<std::size_t> read(std::span<std::byte> buf) override { return read({}, buf); }
  Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf) override {
    return came(buf, inner_->read(ctx, buf));
  }
  Result<std::size_t> try_read(std::span<std::byte> buf) override { return came(buf, inner_->try_read(buf)); }
  Result<void> wait_readable(const Context& ctx) override { return inner_->wait_readable(ctx); }

  Result<void> write(std::span<const std::byte> buf) override { return write({}, buf); }
  Result<void> write(const Context& ctx, std::span<const std::byte> buf) override {
    going({reinterpret_cast<const char*>(buf.data()), buf.size()});
    return went(inner_->write(ctx, buf));
  }
  Result<void> writev(std::span<const iovec> buffers) override { return writev({}, buffers); }
  Result<void> writev(const Context& ctx, std::span<const iovec> buffers) override {
    std::string all;
    for (const iovec& one : buffers) all.append(static_cast<const char*>(one.iov_base), one.iov_len);
    going(all);
    return went(inner_->writev(ctx, buffers));
  }

  Result<void> close_read() override { return inner_->close_read(); }
  Result<void> close_write() override {
    end(us_ended_, us_, Recording::Kind::kEnd);
    return inner_->close_write();
  }
  void set_read_deadline(TimePoint when) noexcept override { inner_->set_read_deadline(when); }
  void set_write_deadline(TimePoint when) noexcept override { inner_->set_write_deadline(when); }
  Result<net::Address> local_address() const override { return inner_->local_address(); }
  Result<net::Address> remote_address() const override { return inner_->remote_address(); }
  bool is_alive() const noexcept override { return inner_->is_alive(); }
  void close() noexcept override {
    end(us_ended_, us_, Recording::Kind::kEnd);
    inner_->close();
  }

 private:
  Result<std::size_t> came(std::span<const std::byte> buf, const Result<std::size_t>& n) {
    if (n && *n != 0) {
      tap_->note(them_, Recording::Kind::kBytes, std::string(reinterpret_cast<const char*>(buf.data()), *n));
    } else if (n && !buf.empty()) {
      end(them_ended_, them_, Recording::Kind::kEnd);
    } else if (!n && n.error().code == Code::kReset) {
      end(them_ended_, them_, Recording::Kind::kReset);
    }
    return n;
  }
  // Keeps I1: before the other side can have seen it, and answered.
  void going(std::string_view bytes) {
    if (!bytes.empty()) tap_->note(us_, Recording::Kind::kBytes, std::string(bytes));
  }
  Result<void> went(const Result<void>& written) {
    if (!written && written.error().code == Code::kReset) end(them_ended_, them_, Recording::Kind::kReset);
    return written;
  }
  void end(std::atomic<bool>& ended, Side side, Recording::Kind how) {
    if (!ended.exchange(true, std::memory_order_relaxed)) tap_->note(side, how);  // relaxed: only who is first matters
  }

  const std::unique_ptr<net::Transport> inner_;
  const Side us_;
  const Side them_;
  const std::shared_ptr<Tap> tap_;
  std::atomic<bool> us_ended_{false};
  std::atomic<bool> them_ended_{false};
};

}  // namespace

std::unique_ptr<net::Transport> record(std::unique_ptr<net::Transport> inner, Side side, std::shared_ptr<Tap> tap) {
  return std::make_unique<TappedTransport>(std::move(inner), side, std::move(tap));
}

Decorator tapped(std::shared_ptr<Tap> tap, Side side) {
  return [tap = std::move(tap), side](std::unique_ptr<net::Transport> inner) {
    return record(std::move(inner), side, tap);
  };
}

}  // namespace heddle::http::test
