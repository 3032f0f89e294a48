#include <heddle/core/check.h>
#include <heddle/core/select.h>

namespace heddle {

using detail::CaseKind;

std::size_t SelectList::add_case(std::unique_ptr<detail::ListedCase> c) {
  if (cases_.size() == kMaxCases) fatal("SelectList: more than %zu cases", kMaxCases);
  check_idle(*c, cases_.size());
  cases_.push_back(std::move(c));
  return cases_.size() - 1;
}

void SelectList::set_case(std::size_t i, std::unique_ptr<detail::ListedCase> c) {
  if (i >= cases_.size()) fatal("SelectList: set case %zu of %zu", i, cases_.size());
  check_idle(*c, i);
  cases_[i] = std::move(c);
}

void SelectList::disable(std::size_t i) noexcept {
  if (i >= cases_.size()) fatal("SelectList: disable case %zu of %zu", i, cases_.size());
  cases_[i]->disabled = true;
}

void SelectList::check_idle(const detail::ListedCase& added, std::size_t but) const noexcept {
  if (added.kind == CaseKind::kChannel) return;
  for (std::size_t i = 0; i < cases_.size(); ++i) {
    if (i != but && cases_[i]->kind != CaseKind::kChannel) fatal("SelectList: a second on_timeout or otherwise");
  }
}

std::size_t select(SelectList& list) {
  const std::size_t size = list.cases_.size();
  list.prepared_.resize(size);
  list.order_.resize(2 * size);
  detail::SelectIdle idle;
  std::size_t n = 0;
  for (std::size_t i = 0; i < size; ++i) {
    detail::ListedCase& c = *list.cases_[i];
    if (c.disabled) continue;
    const auto position = static_cast<std::uint16_t>(i);
    switch (c.kind) {
      case CaseKind::kChannel:
        list.prepared_[n].position = position;
        c.prepare(list.prepared_[n++]);
        break;
      case CaseKind::kTimeout: idle = {false, true, c.after(), position}; break;
      case CaseKind::kOtherwise: idle = {true, false, {}, position}; break;
    }
  }
  const detail::Selected chosen = detail::select_go(list.prepared_.data(), n, list.order_.data(), idle);
  // Held, for its function may put another in its place.
  const std::shared_ptr<detail::ListedCase> c = list.cases_[chosen.position];
  c->call(chosen.ok);
  return chosen.position;
}

}  // namespace heddle
