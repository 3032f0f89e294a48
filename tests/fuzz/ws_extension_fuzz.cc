// The negotiation of permessage-deflate: what is accepted is what a simple reading of RFC 7692 s7.1 accepts, as an offer and as
// an answer; an answer grants what was asked and no more, and who offered reads it as who gave it meant it; two ends of
// whatever options always agree.
//
// Input: a byte for the options of a server, one for those of a client, Sec-WebSocket-Extensions.
#include <heddle/http/internal/ws_extension.h>

#include <map>

#include <heddle/http/header.h>

#include "fuzz.h"

namespace heddle::http::ws {
namespace {

using Parameters = std::map<std::string, std::optional<std::string>>;

struct Element {
  std::string name;
  Parameters parameters;
  bool twice = false;  // one of them
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return out;
}

// The parts of `text` between `at`, where that is not in quotes. Nothing: a quote that does not end.
std::optional<std::vector<std::string_view>> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') {
      quoted = !quoted;
    } else if (quoted && text[i] == '\\') {
      ++i;
    } else if (!quoted && text[i] == at) {
      parts.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  if (quoted) return std::nullopt;
  parts.push_back(text.substr(begin));
  return parts;
}

std::optional<std::string> unquote(std::string_view text) {
  if (!text.starts_with('"')) return std::string(text);
  if (text.size() < 2 || !text.ends_with('"')) return std::nullopt;
  text = text.substr(1, text.size() - 2);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') return std::nullopt;
    if (text[i] == '\\' && ++i == text.size()) return std::nullopt;
    out += text[i];
  }
  return out;
}

// RFC 6455 s9.1. Nothing: it is no list of extensions.
std::optional<std::vector<Element>> read_list(std::string_view text) {
  std::vector<Element> list;
  const auto elements = split(text, ',');
  if (!elements) return std::nullopt;
  for (const std::string_view all : *elements) {
    if (trim_blanks(all).empty()) continue;
    const auto parts = split(all, ';');
    if (!parts) return std::nullopt;
    Element element{.name = lower(trim_blanks(parts->front())), .parameters = {}};
    if (!is_token(element.name)) return std::nullopt;
    for (std::size_t i = 1; i < parts->size(); ++i) {
      const std::string_view part = (*parts)[i];
      const std::size_t equals = part.find('=');
      const std::string name = lower(trim_blanks(part.substr(0, equals)));
      if (!is_token(name)) return std::nullopt;
      std::optional<std::string> value;
      if (equals != std::string_view::npos) {
        value = unquote(trim_blanks(part.substr(equals + 1)));
        if (!value || !is_token(*value)) return std::nullopt;
      }
      element.twice |= !element.parameters.emplace(name, value).second;
    }
    list.push_back(element);
  }
  return list;
}

// RFC 7692 s7.1: what an endpoint must decline, or fail for, it is not.
bool is_deflate(const Element& element, bool offer) {
  if (element.name != "permessage-deflate" || element.twice) return false;
  for (const auto& [name, value] : element.parameters) {
    const bool is_bits = name == "server_max_window_bits" || name == "client_max_window_bits";
    if (!is_bits && name != "server_no_context_takeover" && name != "client_no_context_takeover") return false;
    if (is_bits != value.has_value() && !(offer && name == "client_max_window_bits")) return false;
    constexpr std::string_view kBits[] = {"8", "9", "10", "11", "12", "13", "14", "15"};
    if (value && std::ranges::find(kBits, *value) == std::end(kBits)) return false;
  }
  return true;
}

int bits(const Element& element, const std::string& name, int otherwise) {
  const auto at = element.parameters.find(name);
  return at == element.parameters.end() || !at->second ? otherwise : std::stoi(*at->second);
}

Compression options_of(std::uint8_t byte) {
  Compression out;
  out.enabled = true;
  out.own_takeover = (byte & 1) != 0;
  out.peer_takeover = (byte & 2) != 0;
  out.own_window_bits = 9 + (byte >> 2) % 7;
  out.peer_window_bits = 15 - (byte >> 4) % 7;
  return out;
}

// What `one` takes for its own is the peer's for `other`.
bool mirrored(const Agreed& one, const Agreed& other) {
  return one == Agreed{.own_takeover = other.peer_takeover,
                       .peer_takeover = other.own_takeover,
                       .own_bits = other.peer_bits,
                       .peer_bits = other.own_bits};
}

void check_offers(std::string_view text, const Compression& options) {
  const Result<std::optional<Answer>> answer = answer_offers(text, options);
  const auto list = read_list(text);
  FUZZ_CHECK(answer.has_value() == list.has_value());
  Compression off = options;
  off.enabled = false;
  const Result<std::optional<Answer>> refused = answer_offers(text, off);
  FUZZ_CHECK(refused.has_value() == list.has_value() && (!refused || !*refused));
  if (!answer) {
    FUZZ_CHECK(answer.error().code == Code::kProtocol);
    return;
  }
  const auto asked = std::ranges::find_if(*list, [](const Element& element) { return is_deflate(element, true); });
  FUZZ_CHECK(answer->has_value() == (asked != list->end()));
  if (!*answer) return;

  const auto said = read_list((*answer)->field);
  FUZZ_CHECK(said && said->size() == 1 && is_deflate(said->front(), false));
  const Element& given = said->front();
  const auto has = [](const Element& element, const char* name) { return element.parameters.contains(name); };
  for (const char* const name : {"server_no_context_takeover", "server_max_window_bits"}) {
    FUZZ_CHECK(has(given, name) || !has(*asked, name));
  }
  FUZZ_CHECK(has(*asked, "client_max_window_bits") || !has(given, "client_max_window_bits"));
  FUZZ_CHECK(bits(given, "server_max_window_bits", 15) <= bits(*asked, "server_max_window_bits", 15));
  FUZZ_CHECK(bits(given, "client_max_window_bits", 8) <= bits(*asked, "client_max_window_bits", 15));

  // A client that made that offer.
  Compression client;
  client.enabled = true;
  client.own_takeover = !has(*asked, "client_no_context_takeover");
  client.peer_takeover = !has(*asked, "server_no_context_takeover");
  client.own_window_bits = bits(*asked, "client_max_window_bits", 15);
  client.peer_window_bits = bits(*asked, "server_max_window_bits", 15);
  const fuzz::Exact field((*answer)->field);
  const Result<std::optional<Agreed>> back = read_answer(field, client);
  FUZZ_CHECK(back && *back && mirrored(**back, (*answer)->agreed));
}

void check_answer(std::string_view text, const Compression& options) {
  const Result<std::optional<Agreed>> agreed = read_answer(text, options);
  const auto list = read_list(text);
  if (!agreed) FUZZ_CHECK(agreed.error().code == Code::kProtocol);
  if (!list || list->empty()) {
    FUZZ_CHECK(agreed.has_value() == list.has_value() && (!agreed || !*agreed));
    return;
  }
  const Element& said = list->front();
  const bool good = list->size() == 1 && is_deflate(said, false) &&
                    (options.peer_takeover || said.parameters.contains("server_no_context_takeover")) &&
                    bits(said, "server_max_window_bits", 15) <= options.peer_window_bits &&
                    bits(said, "client_max_window_bits", 8) <= options.own_window_bits;
  FUZZ_CHECK(agreed.has_value() == good);
  if (!good) return;
  FUZZ_CHECK(agreed->has_value());
  FUZZ_CHECK((*agreed)->peer_takeover != said.parameters.contains("server_no_context_takeover"));
  FUZZ_CHECK(!(*agreed)->own_takeover || !said.parameters.contains("client_no_context_takeover"));
  FUZZ_CHECK((*agreed)->own_bits == bits(said, "client_max_window_bits", options.own_window_bits));
  FUZZ_CHECK((*agreed)->peer_bits == bits(said, "server_max_window_bits", 15));
}

}  // namespace
}  // namespace heddle::http::ws

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle;
  using namespace heddle::http::ws;
  fuzz::Input input(data, size);
  const Compression server = options_of(input.byte());
  const Compression client = options_of(input.byte());
  const fuzz::Exact text(input.rest());
  check_offers(text, server);
  check_answer(text, client);

  const auto given = answer_offers(make_offer(client), server);
  FUZZ_CHECK(given && *given);
  const auto taken = read_answer((*given)->field, client);
  FUZZ_CHECK(taken && *taken && mirrored(**taken, (*given)->agreed));
  return 0;
}
