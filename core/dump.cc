#include <heddle/core/dump.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: see g.h I3

// A G's line as it was when we looked, before the slot may get another tenant.
struct Line {
  std::uint64_t id;
  GStatus status;
  WaitReason reason;
  const char* name;
  std::uint64_t creator;
  const char* file;
  const char* function;
  std::uint32_t line;
};

void collect(void* arg, G* g) {
  const GStatus status = g->status.load(kRelaxed);
  if (status == GStatus::kIdle || status == GStatus::kDead) return;
  static_cast<std::vector<Line>*>(arg)->push_back(
      {g->id.load(kRelaxed), status, g->wait_reason.load(kRelaxed), g->name.load(kRelaxed), g->creator.load(kRelaxed),
       g->site_file.load(kRelaxed), g->site_function.load(kRelaxed), g->site_line.load(kRelaxed)});
}

const char* state_text(const Line& l) noexcept {
  switch (l.status) {
    case GStatus::kRunnable: return "runnable";
    case GStatus::kRunning: return "running";
    case GStatus::kWaiting: return to_string(l.reason);
    case GStatus::kIdle:
    case GStatus::kDead: break;
  }
  return "dead";
}

}  // namespace

std::string dump_goroutines() {
  // acquire: pairs with run_main()'s exchange, so that a P's fields are there.
  if (!sched.running.load(std::memory_order_acquire)) return {};
  std::vector<Line> lines;
  stack_arena().for_each(collect, &lines);
  std::ranges::sort(lines, {}, &Line::id);
  std::string text;
  for (const Line& l : lines) {
    char head[160];
    std::snprintf(head, sizeof head, "goroutine %llu [%s]", static_cast<unsigned long long>(l.id), state_text(l));
    text += head;
    if (l.name != nullptr) text.append(" \"").append(l.name).append("\"");
    text += ":\n";
    if (l.creator != 0) {
      std::snprintf(head, sizeof head, "created by goroutine %llu at ", static_cast<unsigned long long>(l.creator));
      text += head;
    } else {
      text += "created at ";
    }
    text.append(l.file == nullptr ? "?" : l.file).append(":").append(std::to_string(l.line));
    if (l.function != nullptr && *l.function != '\0') text.append(" (").append(l.function).append(")");
    text += "\n\n";
  }
  return text;
}

}  // namespace heddle
