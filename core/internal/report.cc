#include <heddle/core/internal/report.h>

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <string_view>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/signals.h>
#include <heddle/core/internal/snapshot.h>
#include <heddle/core/internal/symbolize.h>
#include <heddle/core/traceback.h>

namespace heddle {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: see g.h I3
constexpr std::int64_t kAnswerTime = 20'000'000;      // ns that running goroutines' threads have to answer
constexpr std::size_t kMostImages = std::size_t{256} << 20;  // bytes of stacks in one report; the rest goes without
constexpr std::size_t kEnds = 50;                     // Go's: so many frames from each end of a deep stack

std::mutex report_lock;
std::atomic<bool> open{false};
std::atomic<int> under_way{0};
std::atomic<bool> dumping{false};

// Never destroyed: a report may be under way when the process exits.
DebugInfo& debug_info() {
  static auto* info = new DebugInfo;
  return *info;
}

// A G as it was when we looked, before the slot may get another tenant.
struct Entry {
  const G* g;
  std::uint64_t id;
  GStatus status;
  WaitReason reason;
  const char* name;
  std::uint64_t creator;
  const char* file;
  const char* function;
  std::uint32_t line;
  std::string labels;  // as text; empty: none
  bool has_image = false;
  StackImage image;
};

struct Gathering {
  const DumpOptions& options;
  const G* self;
  const G* except;
  std::vector<Entry> entries;
  std::size_t bytes = 0;
};

bool lives(GStatus s) noexcept { return s != GStatus::kIdle && s != GStatus::kDead; }
bool runs(GStatus s) noexcept { return lives(s) && s != GStatus::kRunnable && s != GStatus::kWaiting; }

void add_labels(Entry& e) {
  const detail::LabelSet* labels = labels_of(*e.g);
  if (labels == nullptr) return;
  if (e.g->id.load(kRelaxed) == e.id) e.labels = text_of(*labels);
  release_labels(labels);
}

Entry look_at(const G& g) {
  Entry e{};
  e.g = &g;
  e.status = g.status.load(std::memory_order_acquire);  // acquire: its sp is as old at least; a torn one is harmless
  e.id = g.id.load(kRelaxed);
  e.reason = g.wait_reason.load(kRelaxed);
  e.name = g.name.load(kRelaxed);
  e.creator = g.creator.load(kRelaxed);
  e.file = g.site_file.load(kRelaxed);
  e.function = g.site_function.load(kRelaxed);
  e.line = g.site_line.load(kRelaxed);
  add_labels(e);
  return e;
}

// A preempted goroutine's registers lie in the frame of the signal that its thread waits in.
bool copy_preempted(const G& g, StackImage& out) {
  const M* m = g.bound;
  if (m == nullptr || !m->preempted_seen.load(std::memory_order_acquire) || m->preempted_at == nullptr) return false;
  Registers registers;
  read_registers(*static_cast<const ucontext_t*>(m->preempted_at), registers);
  out.exact_pc = true;
  return copy_from(g, registers, out);
}

// Copies the stack if it holds still meanwhile.
void add_parked_image(Gathering& all, Entry& e) {
  if (!all.options.stacks || all.bytes > kMostImages) return;
  if (e.status == GStatus::kPreempted) {
    e.has_image = copy_preempted(*e.g, e.image) && e.g->status.load(std::memory_order_acquire) == GStatus::kPreempted;
    return;
  }
  if (runs(e.status)) return;
  if (!copy_parked(*e.g, e.image) || e.g->status.load(std::memory_order_acquire) != e.status ||
      e.g->id.load(kRelaxed) != e.id) {
    return;
  }
  e.has_image = true;
  all.bytes += e.image.bytes.size();
}

// As of one instant, if the world can be stopped for it.
bool gather_still(Gathering& all) {
  Snapshot snapshot;
  if (!snapshot.take(all.options.stacks)) return false;
  for (const StillG& still : snapshot.goroutines()) {
    if (still.g == all.except) continue;
    Entry e{};
    e.g = still.g;
    e.id = still.id;
    e.status = still.status;
    e.reason = still.reason;
    e.name = still.name;
    e.creator = still.creator;
    e.file = still.file;
    e.function = still.function;
    e.line = still.line;
    add_labels(e);
    e.has_image = Snapshot::image_of(still, e.image);
    all.bytes += e.image.bytes.size();
    all.entries.push_back(std::move(e));
  }
  return true;
}

void gather(void* arg, G* g) {
  auto& all = *static_cast<Gathering*>(arg);
  if (g == all.except) return;
  Entry e = look_at(*g);
  if (!lives(e.status)) return;
  add_parked_image(all, e);
  all.entries.push_back(std::move(e));
}

// The stacks of goroutines that ran when we came by, or began to run under our hands: their threads are asked; some will
// have parked or ended since.
void gather_running(Gathering& all) {
  const std::int64_t until = nanotime() + kAnswerTime;
  const auto lacks = [&all](const Entry& e) { return !e.has_image && lives(e.status) && all.bytes <= kMostImages; };
  for (int round = 0; round < 3 && std::ranges::any_of(all.entries, lacks); ++round) {
    const std::int64_t left = until - nanotime();
    if (left <= 0) break;
    std::vector<RunningStack> running = capture_running(left);
    for (Entry& e : all.entries) {
      if (!lacks(e)) continue;
      const auto it = std::ranges::find_if(running, [&e](const RunningStack& r) { return r.g == e.g && r.id == e.id; });
      if (it != running.end()) {
        e.status = GStatus::kRunning;
        e.image = std::move(it->image);
        e.has_image = true;
        it->g = nullptr;
        continue;
      }
      Entry now = look_at(*e.g);
      if (now.id != e.id || !lives(now.status)) {
        e.status = GStatus::kDead;
        continue;
      }
      add_parked_image(all, now);
      e = std::move(now);
    }
  }
  std::erase_if(all.entries, [](const Entry& e) { return !lives(e.status); });
}

const char* state_text(const Entry& e, const G* self) noexcept {
  if (e.g == self) return "running";
  switch (e.status) {
    case GStatus::kRunnable: return "runnable";
    case GStatus::kWaiting: return to_string(e.reason);
    default: return "running";
  }
}

// --- text ---

// Where our own sources lie, as the debug information spells it: ".../core/". Empty if it knows no files.
const std::string& runtime_root() {
  static const std::string root = [] {
    const auto at = reinterpret_cast<std::uintptr_t>(&schedule_loop);
    for (const Frame& f : debug_info().describe({at, true})) {
      if (const std::size_t n = f.file.rfind("internal/"); f.line != 0 && n != std::string::npos) return f.file.substr(0, n);
    }
    return std::string();
  }();
  return root;
}

// True if `name` names something in `scope`, also behind the return type that a template's name begins with.
bool in_scope(std::string_view name, std::string_view scope) noexcept {
  const std::size_t at = name.find(scope);
  if (at == 0) return true;
  if (at == std::string_view::npos || name[at - 1] != ' ') return false;
  const std::string_view before = name.substr(0, at);
  return before.find('(') == std::string_view::npos &&
         std::ranges::count(before, '<') == std::ranges::count(before, '>');
}

// Hidden unless asked for: the way from a user's call to the switch, from the switch to the user's function, and from
// a throw to its report. What users call by name (sleep, Mutex::lock) is not.
bool is_runtime(const Frame& f) {
  for (const std::string_view scope :
       {"heddle_switch", "heddle_entry", "heddle::leave_g(", "heddle::park(", "heddle::park_unlock(", "heddle::g_main(",
        "heddle::run_aside(", "heddle::Sema::", "heddle::WaitList::", "heddle::detail::", "heddle::Defers::",
        "heddle::panic<", "heddle::with_defers<", "panic<", "with_defers<", "std::terminate()", "__cxxabiv1::", "__cxa_",
        "_Unwind_"}) {
    if (in_scope(f.function, scope)) return true;
  }
  const std::string& root = runtime_root();
  if (root.empty() || !f.file.starts_with(root)) return false;
  return in_scope(f.function, "heddle::(anonymous namespace)::") || f.function.find("::") == std::string::npos;
}

// What stands above it is the C++ runtime at work, and the report itself.
bool is_throw(const Frame& f) {
  return f.function == "std::terminate()" || f.function.find("__cxa_throw") != std::string::npos ||
         f.function.find("__cxa_rethrow") != std::string::npos || f.function.starts_with("std::rethrow_exception(");
}

void add_frame(std::string& text, const Frame& f) {
  text.append(f.function.empty() ? "?" : f.function).append("\n\t").append(f.file.empty() ? "?" : f.file);
  if (f.line != 0) text.append(":").append(std::to_string(f.line));
  if (!f.inlined) {
    char offset[32];
    std::snprintf(offset, sizeof offset, " +0x%zx", static_cast<std::size_t>(f.offset));
    text += offset;
  }
  text += '\n';
}

void add_frames(std::string& text, const std::vector<Pc>& pcs, bool runtime_frames, std::size_t ends) {
  DebugInfo& info = debug_info();
  std::vector<Frame> frames;
  std::size_t elided = 0;
  // A deep recursion has far more calls than anybody wants to see named.
  for (std::size_t i = 0; i < pcs.size(); ++i) {
    if (pcs.size() > 2 * ends && i == ends) {
      i = pcs.size() - ends;
      elided = frames.size();
    }
    for (const Frame& f : info.describe(pcs[i])) {
      // What came of a panic stands above it: the report itself, and parts of the C++ runtime without names.
      if (!runtime_frames && is_throw(f)) frames.clear();
      if (runtime_frames || !is_runtime(f)) frames.push_back(f);
    }
  }
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (elided != 0 && i == elided) text.append("...").append(std::to_string(pcs.size() - 2 * ends)).append(" frames elided...\n");
    add_frame(text, frames[i]);
  }
}

void add_header(std::string& text, const Entry& e, const char* state) {
  text.append("goroutine ").append(std::to_string(e.id)).append(" [").append(state).append("]");
  if (e.name != nullptr) text.append(" \"").append(e.name).append("\"");
  if (!e.labels.empty()) text.append(" labels: ").append(e.labels);
  text += ":\n";
}

void add_creation(std::string& text, const Entry& e) {
  if (e.creator != 0) {
    text.append("created by goroutine ").append(std::to_string(e.creator)).append(" at ");
  } else {
    text += "created at ";
  }
  text.append(e.file == nullptr ? "?" : e.file).append(":").append(std::to_string(e.line));
  if (e.function != nullptr && *e.function != '\0') text.append(" (").append(e.function).append(")");
  text += '\n';
}

// --- threads ---

struct ThreadStart {
  void (*fn)(void*);
  void* arg;
};

void* report_thread(void* arg) {
  const ThreadStart start = *static_cast<ThreadStart*>(arg);
  delete static_cast<ThreadStart*>(arg);
  pthread_setname_np(pthread_self(), "heddle-report");
  start.fn(start.arg);
  return nullptr;
}

// False if the scheduler stops. Else leave() must follow.
bool enter() noexcept {
  // seq_cst: we count ourselves, then look whether it is open; reports_close() closes, then looks at the count.
  under_way.fetch_add(1, std::memory_order_seq_cst);
  if (open.load(std::memory_order_seq_cst)) return true;
  under_way.fetch_sub(1, std::memory_order_seq_cst);
  return false;
}

void leave() noexcept { under_way.fetch_sub(1, std::memory_order_seq_cst); }  // seq_cst: as above

struct Aside {
  void (*fn)(void*);
  void* arg;
  G* g;
  std::atomic<std::uint32_t> parked{0};
};

}  // namespace

std::string report_all(const DumpOptions& options, const G* self, const G* except) {
  Gathering all{options, self, except, {}};
  std::unique_lock<std::mutex> lock(report_lock, std::defer_lock);
  if (options.stacks) lock.lock();
  if (!gather_still(all)) stack_arena().for_each(gather, &all);
  if (options.stacks) {
    gather_running(all);
    debug_info().refresh();
  }
  std::ranges::sort(all.entries, {}, &Entry::id);
  std::string text;
  for (const Entry& e : all.entries) {
    add_header(text, e, state_text(e, self));
    if (e.has_image) {
      add_frames(text, unwind(e.image, &debug_info()), options.runtime_frames, kEnds);
    } else if (options.stacks) {
      text += runs(e.status) ? "\t(running; stack unavailable)\n" : "\t(stack unavailable)\n";
    }
    add_creation(text, e);
    text += '\n';
  }
  return text;
}

std::string report_one(const G& g, const StackImage* image, bool runtime_frames) {
  const Entry e = look_at(g);
  std::string text;
  add_header(text, e, "running");
  if (image != nullptr) text += report_frames(*image, runtime_frames, kEnds);
  add_creation(text, e);
  return text;
}

std::string report_frames(const StackImage& image, bool runtime_frames, std::size_t ends) {
  const std::lock_guard<std::mutex> lock(report_lock);
  debug_info().refresh();
  std::string text;
  add_frames(text, unwind(image, &debug_info(), 100'000), runtime_frames, ends);
  return text;
}

void print_report(const std::string& text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const auto n = ::write(STDERR_FILENO, text.data() + at, text.size() - at);
    if (n <= 0) break;
    at += static_cast<std::size_t>(n);
  }
}

bool start_report_thread(void (*fn)(void*), void* arg) noexcept {
  auto* start = new (std::nothrow) ThreadStart{fn, arg};
  if (start == nullptr) return false;
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_t thread;
  const bool made = pthread_create(&thread, &attr, report_thread, start) == 0;
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  pthread_attr_destroy(&attr);
  if (!made) delete start;
  return made;
}

bool run_aside(void (*fn)(void*), void* arg) {
  if (!enter()) return false;
  // On the goroutine's stack: the thread's last touch comes before ready(), and after that it knows the G no more.
  Aside aside{fn, arg, must_current_g("a report"), {}};
  const bool started = start_report_thread(
      [](void* a) {
        auto* job = static_cast<Aside*>(a);
        // acquire: the goroutine is off its stack, which may be read now; pairs with the commit below.
        while (job->parked.load(std::memory_order_acquire) == 0) {
          ::syscall(SYS_futex, &job->parked, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
        }
        job->fn(job->arg);
        ready(job->g);
        leave();
      },
      &aside);
  if (!started) {
    leave();
    return false;
  }
  park(
      [](G*, void* a) {
        auto* job = static_cast<Aside*>(a);
        std::atomic<std::uint32_t>* word = &job->parked;
        word->store(1, std::memory_order_release);  // release: pairs with the thread's acquire
        // The job may be gone by now, its stack is not: at worst somebody there wakes for nothing.
        ::syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
        return true;
      },
      &aside, WaitReason::kOther);
  return true;
}

bool run_apart(void (*fn)(void*), void* arg, bool in_run) noexcept {
  if (in_run && !enter()) return false;
  struct Apart {
    void (*fn)(void*);
    void* arg;
    std::atomic<std::uint32_t> done{0};
  } apart{fn, arg};
  const bool started = start_report_thread(
      [](void* a) {
        auto* job = static_cast<Apart*>(a);
        job->fn(job->arg);
        std::atomic<std::uint32_t>* word = &job->done;
        word->store(1, std::memory_order_release);  // release: pairs with the acquire below
        // The job may be gone by now, the caller's stack is not.
        ::syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
      },
      &apart);
  // acquire: what fn did is ours.
  while (started && apart.done.load(std::memory_order_acquire) == 0) {
    ::syscall(SYS_futex, &apart.done, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  }
  if (in_run) leave();
  return started;
}

void start_dump_thread() noexcept {
  if (dumping.exchange(true, std::memory_order_acq_rel)) return;  // acq_rel: one at a time
  if (enter()) {
    const bool started = start_report_thread(
        [](void*) {
          dump();
          dumping.store(false, std::memory_order_release);  // release: pairs with the exchange
          leave();
        },
        nullptr);
    if (started) return;
    leave();
  }
  dumping.store(false, std::memory_order_release);
}

void reports_open() noexcept { open.store(true, std::memory_order_seq_cst); }  // seq_cst: see enter()

bool reports_under_way() noexcept { return under_way.load(std::memory_order_seq_cst) != 0; }  // seq_cst: as enter()

void reports_close() noexcept {
  open.store(false, std::memory_order_seq_cst);  // seq_cst: see enter()
  while (under_way.load(std::memory_order_seq_cst) != 0) {
    const timespec pause{0, 200'000};
    ::nanosleep(&pause, nullptr);
  }
}

}  // namespace heddle
