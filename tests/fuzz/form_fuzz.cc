// Forms as text: what was parsed, printed and parsed again is the same; pairs made of anything survive both ways; and
// the pairs are those of a simple reading.
//
// Input: text.
#include <heddle/http/form.h>

#include "fuzz.h"

namespace {

void check_equal(const heddle::http::FormValues& a, const heddle::http::FormValues& b) {
  FUZZ_CHECK(a.size() == b.size());
  for (auto x = a.begin(), y = b.begin(); x != a.end(); ++x, ++y) {
    FUZZ_SAME(x->name, y->name);
    FUZZ_SAME(x->value, y->value);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  const std::string text(data, data + size);
  const FormLimits limits{.max_bytes = 2000, .max_pairs = 30};
  const heddle::Result<FormValues> form = parse_form(heddle::fuzz::Exact(text), limits);
  std::size_t pairs = 0;
  for (std::size_t at = 0; at < text.size(); ++at) pairs += text[at] != '&' && (at == 0 || text[at - 1] == '&') ? 1 : 0;
  if (form) {
    FUZZ_CHECK(form->size() == pairs && pairs <= limits.max_pairs && text.size() <= limits.max_bytes);
    const std::string printed = encode_form(*form);
    const heddle::Result<FormValues> again = parse_form(printed);
    FUZZ_CHECK(again.has_value());
    check_equal(*form, *again);
    FUZZ_SAME(encode_form(*again), printed);
    for (const FormValues::Pair& pair : *form) {
      FUZZ_CHECK(form->find(pair.name).has_value());
      FUZZ_CHECK(!form->all(pair.name).empty());
    }
  } else {
    const bool limit = pairs > limits.max_pairs || text.size() > limits.max_bytes;
    FUZZ_CHECK(limit || text.find('%') != std::string::npos);
  }

  // Lines as names and values, whatever they are.
  FormValues made;
  for (heddle::fuzz::Input lines(data, size); !lines.empty() && made.size() < 100;) {
    std::string name = lines.line();
    std::string value = lines.line();
    if (name.empty() && value.empty()) continue;
    made.add(std::move(name), std::move(value));
  }
  const heddle::Result<FormValues> back = parse_form(encode_form(made));
  FUZZ_CHECK(back.has_value());
  check_equal(made, *back);
  return 0;
}
