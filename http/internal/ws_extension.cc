#include <heddle/http/internal/ws_extension.h>

#include <algorithm>
#include <utility>
#include <vector>

#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>

namespace heddle::http::ws {
namespace {

constexpr std::string_view kName = "permessage-deflate";
constexpr int kLeastBits = 8;
constexpr int kMostBits = 15;

struct Parameter {
  std::string_view name;
  std::optional<std::string> value;
};

struct Extension {
  std::string_view name;
  std::vector<Parameter> parameters;
};

std::unexpected<Error> broken(const char* what) { return std::unexpected(Error{Code::kProtocol, 0, what}); }

// RFC 6455 s9.1: 1#( token *( ";" token [ "=" ( token | quoted token ) ] ) ).
class Parser {
 public:
  explicit Parser(std::string_view text) noexcept : rest_(text) {}

  // False: it is no list of extensions.
  bool list(std::vector<Extension>& out) {
    for (;;) {
      blanks();
      if (rest_.empty()) return true;
      if (skip(',')) continue;  // empty elements (RFC 9110 s5.6.1)
      Extension extension;
      if (!token(extension.name)) return false;
      while (skip(';')) {
        Parameter p;
        blanks();
        if (!token(p.name)) return false;
        if (skip('=')) {
          blanks();
          if (!value(p.value.emplace())) return false;
        }
        extension.parameters.push_back(std::move(p));
      }
      out.push_back(std::move(extension));
      if (!rest_.empty() && !skip(',')) return false;
    }
  }

 private:
  void blanks() noexcept {
    while (rest_.starts_with(' ') || rest_.starts_with('\t')) rest_.remove_prefix(1);
  }
  bool skip(char c) noexcept {
    blanks();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool token(std::string_view& out) noexcept {
    std::size_t n = 0;
    while (n < rest_.size() && chars::is(rest_[n], chars::kToken)) ++n;
    out = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return n != 0;
  }
  bool value(std::string& out) {
    if (!rest_.starts_with('"')) {
      std::string_view plain;
      if (!token(plain)) return false;
      out = plain;
      return true;
    }
    std::size_t i = 1;
    for (; i < rest_.size() && rest_[i] != '"'; ++i) {
      if (rest_[i] == '\\' && ++i == rest_.size()) return false;
      out += rest_[i];
    }
    if (i >= rest_.size()) return false;
    rest_.remove_prefix(i + 1);
    return is_token(out);
  }

  std::string_view rest_;
};

// The parameters of one permessage-deflate, offer or answer.
struct Parameters {
  bool server_no_takeover = false;
  bool client_no_takeover = false;
  std::optional<int> server_bits;
  std::optional<int> client_bits;
  bool client_bits_named = false;  // without a value: only an offer may
};

// 8 to 15, without leading zeros (RFC 7692 s7.1.2.1); else 0.
int window_bits(std::string_view text) noexcept {
  if (text.empty() || text.size() > 2 || text[0] == '0') return 0;
  int n = 0;
  for (const char c : text) {
    if (!chars::is(c, chars::kDigit)) return 0;
    n = n * 10 + (c - '0');
  }
  return n >= kLeastBits && n <= kMostBits ? n : 0;
}

std::optional<Parameters> read_parameters(const Extension& extension, bool offer) {
  Parameters out;
  for (const Parameter& p : extension.parameters) {
    const int bits = p.value ? window_bits(*p.value) : 0;
    if (equal_fold(p.name, "server_no_context_takeover")) {
      if (p.value || std::exchange(out.server_no_takeover, true)) return std::nullopt;
    } else if (equal_fold(p.name, "client_no_context_takeover")) {
      if (p.value || std::exchange(out.client_no_takeover, true)) return std::nullopt;
    } else if (equal_fold(p.name, "server_max_window_bits")) {
      if (bits == 0 || out.server_bits) return std::nullopt;
      out.server_bits = bits;
    } else if (equal_fold(p.name, "client_max_window_bits")) {
      if (p.value ? bits == 0 : !offer) return std::nullopt;
      if (std::exchange(out.client_bits_named, true)) return std::nullopt;
      if (p.value) out.client_bits = bits;
    } else {
      return std::nullopt;
    }
  }
  return out;
}

int held(int bits) noexcept { return std::clamp(bits, kLeastBits + 1, kMostBits); }

}  // namespace

Result<std::optional<Answer>> answer_offers(std::string_view offers, const Compression& options) {
  std::vector<Extension> list;
  if (!Parser(offers).list(list)) return broken("websocket: Sec-WebSocket-Extensions");
  if (!options.enabled) return std::nullopt;
  for (const Extension& extension : list) {
    if (!equal_fold(extension.name, kName)) continue;
    const std::optional<Parameters> asked = read_parameters(extension, true);
    if (!asked) continue;
    Answer answer;
    answer.field = kName;
    Agreed& agreed = answer.agreed;
    agreed.own_takeover = options.own_takeover && !asked->server_no_takeover;
    if (!agreed.own_takeover) answer.field += "; server_no_context_takeover";
    // A client that hints that it will not (s7.1.1.2) is taken at its word: so we need keep nothing.
    agreed.peer_takeover = options.peer_takeover && !asked->client_no_takeover;
    if (!agreed.peer_takeover) answer.field += "; client_no_context_takeover";
    agreed.own_bits = std::min(held(options.own_window_bits), asked->server_bits.value_or(kMostBits));
    if (asked->server_bits || agreed.own_bits < kMostBits) {
      answer.field += "; server_max_window_bits=" + std::to_string(agreed.own_bits);
    }
    if (asked->client_bits_named) {  // only then may it be held to anything (s7.1.2.2)
      agreed.peer_bits = std::min(held(options.peer_window_bits), asked->client_bits.value_or(kMostBits));
      if (agreed.peer_bits < kMostBits) answer.field += "; client_max_window_bits=" + std::to_string(agreed.peer_bits);
    }
    return answer;
  }
  return std::nullopt;
}

std::string make_offer(const Compression& options) {
  std::string offer(kName);
  if (!options.peer_takeover) offer += "; server_no_context_takeover";
  if (!options.own_takeover) offer += "; client_no_context_takeover";
  if (held(options.peer_window_bits) < kMostBits) {
    offer += "; server_max_window_bits=" + std::to_string(held(options.peer_window_bits));
  }
  offer += "; client_max_window_bits";
  if (held(options.own_window_bits) < kMostBits) offer += '=' + std::to_string(held(options.own_window_bits));
  return offer;
}

Result<std::optional<Agreed>> read_answer(std::string_view answer, const Compression& options) {
  std::vector<Extension> list;
  if (!Parser(answer).list(list)) return broken("websocket: Sec-WebSocket-Extensions");
  if (list.empty()) return std::nullopt;
  if (!options.enabled || list.size() != 1 || !equal_fold(list[0].name, kName)) {
    return broken("websocket: an extension that was not offered");
  }
  const std::optional<Parameters> said = read_parameters(list[0], false);
  if (!said) return broken("websocket: permessage-deflate");
  // What we asked for must have been granted (s7.1.1.1, s7.1.2.1), and no window be larger than what we can do.
  const int peer_most = held(options.peer_window_bits);
  const int own_most = held(options.own_window_bits);
  if ((!options.peer_takeover && !said->server_no_takeover) || said->server_bits.value_or(kMostBits) > peer_most ||
      said->client_bits.value_or(kLeastBits) > own_most) {
    return broken("websocket: permessage-deflate was not granted as offered");
  }
  return Agreed{.own_takeover = options.own_takeover && !said->client_no_takeover,
                .peer_takeover = !said->server_no_takeover,
                .own_bits = said->client_bits.value_or(own_most),
                .peer_bits = said->server_bits.value_or(kMostBits)};
}

}  // namespace heddle::http::ws
