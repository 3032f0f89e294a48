#include <heddle/http/test_replay.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <utility>

#include <heddle/core/wait_group.h>
#include <heddle/http/header.h>
#include <heddle/http/test_script.h>

namespace heddle::http::test {
namespace {

// Plays one side on its end of a connection.
class Player {
 public:
  Player(const Recording& recording, Side us, TestConn& conn, const ReplayOptions& options)
      : recording_(recording), us_(us), conn_(conn), options_(options) {}

  Replayed play() {
    for (const Recording::Event& event : recording_.events) {
      if (event.from == us_) {
        listen();
        act(event);
      } else if (event.kind == Recording::Kind::kBytes) {
        expected_ += event.bytes;
      } else if (!we_ended_) {
        listen_to_end();
      }
    }
    listen();
    if (us_ == Side::kClient && !we_ended_) static_cast<void>(conn_.close_write());  // an error: it has ended
    // What it says beyond what it should.
    listen_to_end();
    conn_.close();
    return {difference(), std::move(heard_)};
  }

 private:
  [[nodiscard]] std::string normal(std::string_view said) const {
    return options_.normalise ? options_.normalise(said) : std::string(said);
  }

  void act(const Recording::Event& event) {
    conn_.set_write_deadline(now() + options_.patience);
    // Errors: what is missing in the answer tells of them.
    switch (event.kind) {
      case Recording::Kind::kBytes: static_cast<void>(conn_.write(bytes_of(event.bytes))); break;
      case Recording::Kind::kEnd:
        we_ended_ = true;
        static_cast<void>(conn_.close_write());
        break;
      case Recording::Kind::kReset:
        we_ended_ = true;
        conn_.reset();
        break;
    }
  }

  // Until as much has come as the recording has up to here.
  void listen() {
    const std::size_t wanted = normal(expected_).size();
    conn_.set_read_deadline(now() + options_.patience);
    while (normal(heard_).size() < wanted && hear()) {
    }
  }
  void listen_to_end() {
    const bool patient = !gave_up_;
    conn_.set_read_deadline(now() + options_.patience);
    while (hear()) {
    }
    if (!ended_ && patient) late_ = "the recording ends here, and the connection did not";
  }

  // False: nothing more comes, or not in time. Patience is lost once: from then on only what is there is taken.
  bool hear() {
    if (ended_) return false;
    std::array<std::byte, 4096> buf;
    const Result<std::size_t> n = gave_up_ ? conn_.try_read(buf) : conn_.read(buf);
    if (n && *n != 0) {
      heard_.append(reinterpret_cast<const char*>(buf.data()), *n);
      return true;
    }
    gave_up_ = gave_up_ || (!n && n.error().code == Code::kTimeout);
    ended_ = n || (n.error().code != Code::kTimeout && n.error().code != Code::kWouldBlock);
    return false;
  }

  [[nodiscard]] std::string difference() const {
    const std::string then = normal(expected_);
    const std::string today = normal(heard_);
    if (then == today) return late_;
    const auto [a, b] = std::ranges::mismatch(then, today);
    const auto at = static_cast<std::size_t>(a - then.begin());
    static_cast<void>(b);
    const std::string_view before = std::string_view(then).substr(0, at);
    const std::size_t begin = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    const auto line = [begin](std::string_view text) {
      const std::string_view rest = text.substr(begin);
      return rest.empty() ? "nothing" : to_literal(rest.substr(0, std::min(rest.find('\n'), std::size_t{200} - 1) + 1));
    };
    return "line " + std::to_string(std::ranges::count(before, '\n') + 1) + ": recorded " + line(then) + ", now " +
           line(today);
  }

  const Recording& recording_;
  const Side us_;
  TestConn& conn_;
  const ReplayOptions& options_;
  std::string expected_;  // what the recording has of the other side so far
  std::string heard_;
  bool ended_ = false;
  bool we_ended_ = false;
  bool gave_up_ = false;
  std::string late_;
};

// The line's length that a field of one of these names has before its value; 0: it is no such line.
std::size_t masked_prefix(std::string_view line, const std::vector<std::string>& names) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return 0;
  const bool named =
      std::ranges::any_of(names, [&](const std::string& name) { return equal_fold(name, line.substr(0, colon)); });
  return named ? colon + 1 : 0;
}

}  // namespace

Normaliser mask_fields(std::vector<std::string> names) {
  return [names = std::move(names)](std::string_view said) {
    std::string out;
    while (!said.empty()) {
      const std::size_t eol = said.find("\r\n");
      const std::string_view line = said.substr(0, eol);
      said.remove_prefix(eol == std::string_view::npos ? said.size() : eol + 2);
      if (const std::size_t prefix = masked_prefix(line, names); prefix != 0) {
        out.append(line.substr(0, prefix)).append(" *");
      } else {
        out.append(line);
      }
      if (eol != std::string_view::npos) out += "\r\n";
    }
    return out;
  };
}

Replayed replay(const Recording& recording, const Handler& handler, const ReplayOptions& options) {
  TestServer server(handler, options.server);
  Result<std::unique_ptr<TestConn>> conn = server.dial();
  if (!conn) return {"no connection: " + conn.error().message(), {}};
  return Player(recording, Side::kClient, **conn, options).play();
}

Replayed replay_to_client(const Recording& recording, const std::function<void(Client&)>& drive,
                          const ReplayOptions& options) {
  auto [near, far] = conn_pair();
  const auto end = std::make_shared<std::unique_ptr<net::Transport>>(std::move(near));
  const auto taken = std::make_shared<std::atomic<bool>>(false);
  WaitGroup driver;
  driver.go([&] {
    ClientOptions client_options = options.client;
    client_options.proxy = nullptr;
    client_options.dial = [end, taken](const Context&, const DialTarget&) -> Result<std::unique_ptr<net::Transport>> {
      if (taken->exchange(true)) return std::unexpected(Error{Code::kRefused, 0, "dial"});
      return std::move(*end);
    };
    {
      Client client(std::move(client_options));
      drive(client);
    }
    if (!taken->exchange(true)) end->reset();  // nobody dialed: the connection ends
  });
  Replayed replayed = Player(recording, Side::kServer, *far, options).play();
  far.reset();
  driver.wait();
  return replayed;
}

}  // namespace heddle::http::test
