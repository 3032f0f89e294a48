// Negotiation and media types: what is chosen was offered; case and blanks at commas mean nothing; a list made by the rules is
// weighed as a simple reading weighs it; parameters of a media type come to an end.
//
// Input: text, the value of Accept, Accept-Encoding or Content-Type; its bytes also make a list of codings by the rules.
#include <heddle/http/internal/media_type.h>
#include <heddle/http/mime.h>
#include <heddle/http/negotiate.h>

#include <array>
#include <cstdio>
#include <map>

#include "../http/fields.h"
#include "fuzz.h"

namespace heddle::http {
namespace {

constexpr std::array<std::string_view, 3> kCodings = {"zstd", "br", "gzip"};
constexpr std::array<std::string_view, 4> kTypes = {"text/html;level=1", "text/html", "application/json", "a/b"};

std::string coding_for(std::string_view value) {
  const test::Fields fields{{"accept-encoding", value}};
  const std::string chosen(choose_coding(fields.list(), kCodings));
  FUZZ_CHECK(chosen.empty() || std::ranges::find(kCodings, chosen) != kCodings.end());
  return chosen;
}

std::size_t type_for(std::string_view value) {
  const test::Fields fields{{"ACCEPT", value}};
  const std::size_t chosen = choose_media_type(fields.list(), kTypes).value_or(kTypes.size());
  FUZZ_CHECK(chosen <= kTypes.size());
  return chosen;
}

void check_text(const std::string& text) {
  std::string upper = text;
  for (char& c : upper) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  FUZZ_SAME(coding_for(text), coding_for(upper));
  FUZZ_CHECK(type_for(text) == type_for(upper));
  FUZZ_SAME(coding_for(text), coding_for(" \t" + text + " \t"));
  FUZZ_CHECK(is_compressible(text) == is_compressible(upper));
  FUZZ_SAME(media_type_of(text), media_type_of(upper));
  if (text.find_first_of("\"\\") == std::string::npos) {
    std::string wide;
    for (const char c : text) wide += c == ',' ? std::string(" ,\t") : std::string(1, c);
    FUZZ_SAME(coding_for(text), coding_for(wide));
    FUZZ_CHECK(type_for(text) == type_for(wide));
  }
  const fuzz::Exact exact(text);
  std::string_view rest = exact;
  const std::string_view essence = cut_essence(rest);
  FUZZ_CHECK(essence.find(';') == std::string_view::npos);
  for (;;) {
    const std::size_t before = rest.size();
    std::string_view name;
    std::string value;
    if (next_parameter(rest, name, value) != ParameterStatus::kOne) break;
    FUZZ_CHECK(rest.size() < before && is_token(name));
    FUZZ_CHECK(value.find('\0') == std::string::npos);
  }
}

// Codings by the rules, and which of the offers is to be chosen: a coding's weight is the one beside its name, else that of
// "*"; the largest weight wins, the first of equals; identity wins if it has more.
void check_made(fuzz::Input& input) {
  static constexpr std::array<const char*, 6> kNames = {"br", "gzip", "zstd", "identity", "*", "deflate"};
  std::string list;
  std::map<std::string, int> weights;
  for (int i = 0; i < 6 && !input.empty(); ++i) {
    const std::string name = kNames[input.below(kNames.size())];
    const int weight = static_cast<int>(input.word() % 1001);
    std::array<char, 16> q;
    std::snprintf(q.data(), q.size(), "%d.%03d", weight / 1000, weight % 1000);
    list += (list.empty() ? "" : ", ") + name + ";q=" + q.data();
    weights.try_emplace(name, weight);
  }
  const auto weight_of = [&](const std::string& name) {
    const auto named = weights.contains(name) ? weights.find(name) : weights.find("*");
    return named == weights.end() ? 0 : named->second;
  };
  std::string best;
  int most = 0;
  for (const std::string_view offer : kCodings) {
    const int weight = weight_of(std::string(offer));
    if (weight > most) best = offer, most = weight;
  }
  if (weight_of("identity") > most) best.clear();
  FUZZ_SAME(coding_for(list), best);
}

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  heddle::fuzz::Input bytes(data, size);
  heddle::http::check_made(bytes);
  heddle::http::check_text(std::string(data, data + size));
  return 0;
}
