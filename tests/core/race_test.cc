// What orders two goroutines' plain accesses, and what does not, as ThreadSanitizer sees it: pairs of programs that differ
// in one thing, each with a variable that one goroutine writes and another reads.
//
//     writer    meets the reader;  x = 1;           publishes through object a;  says so by a relaxed flag
//     reader    meets the writer;  awaits the flag; looks at a, or at b;         reads x
//
// The right twin looks at `a`. The racy one looks at `b`, another object of the same kind, on which somebody else did the
// same before: it does all that the right one does, and only the order is missing. Each racy program must be reported, and
// no right one.
//
// That does not hang on timing: by the flag the read comes after the write in every run, and a relaxed flag orders
// nothing. Both goroutines are at it at the same time, so on two threads: TSan would take a switch from one to the other
// for an order (core/README.md). The racy reader parks nowhere, so it takes no lock of the scheduler's that would be one.
#include <gtest/gtest.h>
#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/cond.h>
#include <heddle/core/context.h>
#include <heddle/core/foreign.h>
#include <heddle/core/go.h>
#include <heddle/core/group.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/mutex.h>
#include <heddle/core/once.h>
#include <heddle/core/pool.h>
#include <heddle/core/run.h>
#include <heddle/core/rw_mutex.h>
#include <heddle/core/select.h>
#include <heddle/core/semaphore.h>
#include <heddle/core/singleflight.h>
#include <heddle/core/task.h>
#include <heddle/core/timer.h>
#include <heddle/core/wait_group.h>
#include <heddle/core/work_pool.h>
#include <sched.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <thread>

namespace heddle {
namespace {

// Two that are to be at work at once, on two threads. Nothing here orders them.
class Meeting {
 public:
  void meet() {
    here_.fetch_add(1, std::memory_order_relaxed);  // relaxed, all: must order nothing
    await(here_, 2);
  }
  void say() { said_.store(1, std::memory_order_relaxed); }
  void await_word() { await(said_, 1); }

 private:
  static void await(const std::atomic<int>& what, int value) {
    while (what.load(std::memory_order_relaxed) < value) sched_yield();
  }
  std::atomic<int> here_{0};
  std::atomic<int> said_{0};
};

// What is written by one and read by the other. It has its words of memory to itself: TSan remembers four accesses to each
// eight bytes, and would forget the write for what happens to a neighbour.
struct alignas(64) Plain {
  int value = 0;
};

std::atomic<int> sink{0};
void use(const Plain& x) { sink.store(x.value, std::memory_order_relaxed); }  // relaxed: as in Meeting

// --- kinds of objects through which one publishes, and another looks, without parking

struct AnAtomic {
  std::atomic<int> v{0};
  void publish() { v.store(1, std::memory_order_release); }         // release: pairs with look()
  void look() { EXPECT_EQ(v.load(std::memory_order_acquire), 1); }  // acquire: pairs with publish()
};
struct BufferedChan {
  Chan<int> ch = make_chan<int>(1);
  void publish() { ch.send(1); }
  void look() { EXPECT_TRUE(ch.recv().has_value()); }
};
// The other way: a receive makes room for a send.
struct RoomInChan {
  Chan<int> ch = make_chan<int>(1);
  RoomInChan() { ch.send(0); }
  void publish() { EXPECT_TRUE(ch.recv().has_value()); }
  void look() { ch.send(1); }
};
struct ClosedChan {
  Chan<int> ch = make_chan<int>();
  void publish() { ch.close(); }
  void look() { EXPECT_FALSE(ch.recv().has_value()); }
};
struct Select {
  Chan<int> ch = make_chan<int>(1);
  Chan<int> other = make_chan<int>();
  void publish() {
    select(on_send(ch, 1, [] {}), on_recv(other, [] {}));
  }
  void look() {
    EXPECT_EQ(select(on_recv(other, [] {}), on_recv(ch, [] {})), 1u);
  }
};
struct AMutex {
  Mutex m;
  void publish() { const std::lock_guard lock(m); }
  void look() { publish(); }
};
struct AMutexWithContext {
  Mutex m;
  Context ctx = with_cancel(Context()).ctx;
  void publish() {
    EXPECT_TRUE(m.lock(ctx).has_value());
    m.unlock();
  }
  void look() { publish(); }
};
struct ReadersAfterWriter {
  RWMutex m;
  void publish() { const std::lock_guard lock(m); }
  void look() { const std::shared_lock lock(m); }
};
struct WriterAfterReaders {
  RWMutex m;
  void publish() { const std::shared_lock lock(m); }
  void look() { const std::lock_guard lock(m); }
};
struct AOnce {
  Once once;
  void publish() {
    once.do_once([] {});
  }
  void look() { publish(); }
};
struct AWaitGroup {
  WaitGroup group;
  AWaitGroup() { group.add(1); }
  void publish() { group.done(); }
  void look() { group.wait(); }
};
struct ACond {
  Mutex m;
  Cond cond;
  bool ready = false;
  void publish() {
    {
      const std::lock_guard lock(m);
      ready = true;
    }
    cond.signal();
  }
  void look() {
    std::unique_lock lock(m);
    cond.wait(lock, [this] { return ready; });
  }
};
struct ASemaphore {
  Semaphore units{1};
  ASemaphore() { units.acquire(); }
  void publish() { units.release(); }
  void look() { units.acquire(); }
};
struct AContext {
  ContextAndCancel made = with_cancel(Context());
  void publish() { made.cancel(); }
  void look() { EXPECT_TRUE(made.ctx.err().has_value()); }
};
struct DoneChannel {
  ContextAndCancel made = with_cancel(Context());
  RecvChan<Done> done = made.ctx.done();
  void publish() { made.cancel(); }
  void look() { EXPECT_FALSE(done.recv().has_value()); }
};
struct Flights {
  singleflight::Group<int, int> flights;
  void publish() {
    EXPECT_EQ(flights.do_(1, [] { return 1; }).value, 1);
  }
  void look() { publish(); }
};
struct PooledObject {
  Pool<int> pool;
  void publish() { static_cast<void>(*pool.get()); }
  void look() { publish(); }
};

template <class Kind>
void through_object(bool racy) {
  Kind a;
  Kind b;
  b.publish();
  Plain x;
  Meeting meeting;
  WaitGroup all;
  all.go([&] {
    meeting.meet();
    x.value = 1;
    a.publish();
    meeting.say();
  });
  all.go([&] {
    meeting.meet();
    meeting.await_word();
    (racy ? b : a).look();
    use(x);
  });
  all.wait();
}

// --- where goroutines' beginnings and ends, or parks, are what orders

// The right twin takes `order`, called by the reader; the racy one does not.
void reads_after(bool racy, const Plain& x, Meeting& meeting, const auto& order) {
  meeting.meet();
  meeting.await_word();
  if (!racy) order();
  use(x);
}

void unbuffered_chan(bool racy) {
  Plain x;
  Meeting meeting;
  WaitGroup all;
  auto ch = make_chan<int>();
  all.go([&] {
    meeting.meet();
    x.value = 1;
    meeting.say();
    if (!racy) ch.send(1);
  });
  all.go([&] { reads_after(racy, x, meeting, [&] { EXPECT_TRUE(ch.recv().has_value()); }); });
  all.wait();
}

void the_go_statement(bool racy) {
  Plain x;
  Meeting meeting;
  WaitGroup all;
  all.go([&] {
    if (racy) meeting.meet();
    x.value = 1;
    meeting.say();
    if (!racy) all.go([&] { use(x); });
  });
  if (racy) all.go([&] { reads_after(true, x, meeting, [] {}); });
  all.wait();
}

void join_of_a_task(bool racy) {
  Plain x;
  Meeting meeting;
  Task<void> writer = spawn([&] {
    meeting.meet();
    x.value = 1;
    meeting.say();
  });
  Task<void> reader = spawn([&] { reads_after(racy, x, meeting, [&] { writer.wait(); }); });
  reader.join();
  writer.join();
}

void members_of_a_group(bool racy) {
  Plain x;
  Meeting meeting;
  Group group;
  group.go([&] {
    meeting.meet();
    x.value = 1;
    meeting.say();
  });
  Task<void> reader = spawn([&] { reads_after(racy, x, meeting, [&] { EXPECT_TRUE(group.wait().has_value()); }); });
  reader.join();
  EXPECT_TRUE(group.wait().has_value());
}

void jobs_of_a_work_pool(bool racy) {
  Plain x;
  Meeting meeting;
  WorkPool pool({.workers = 1});
  EXPECT_TRUE(pool.submit([&] {
                    meeting.meet();
                    x.value = 1;
                    meeting.say();
                  })
                  .has_value());
  Task<void> reader = spawn([&] { reads_after(racy, x, meeting, [&] { pool.drain(); }); });
  reader.join();
  pool.wait();
}

void the_start_of_a_timer(bool racy) {
  Plain x;
  Meeting meeting;
  WaitGroup all;
  all.add(1);
  const auto read = [&] {
    if (racy) {
      reads_after(true, x, meeting, [] {});
    } else {
      use(x);
    }
    all.done();
  };
  if (racy) static_cast<void>(after_func(Duration(0), read));
  all.go([&] {
    if (racy) meeting.meet();
    x.value = 1;
    meeting.say();
    if (!racy) static_cast<void>(after_func(Duration(0), read));
  });
  all.wait();
}

void a_function_after_a_context(bool racy) {
  Plain x;
  Meeting meeting;
  WaitGroup all;
  all.add(1);
  auto [ctx, cancel] = with_cancel(Context());
  auto stop = after_func(ctx, [&] {
    if (racy) {
      reads_after(true, x, meeting, [] {});
    } else {
      use(x);
    }
    all.done();
  });
  if (racy) cancel();
  all.go([&, cancel = cancel] {
    if (racy) meeting.meet();
    x.value = 1;
    meeting.say();
    if (!racy) cancel();
  });
  all.wait();
}

void a_blocking_call(bool racy) {
  Plain x;
  Meeting meeting;
  auto ended = make_chan<int>(1);
  WaitGroup all;
  all.go([&] {
    blocking([&] {
      meeting.meet();
      x.value = 1;
      meeting.say();
    });
    ended.send(1);
  });
  all.go([&] { reads_after(racy, x, meeting, [&] { EXPECT_TRUE(ended.recv().has_value()); }); });
  all.wait();
}

void a_foreign_thread_that_posts(bool racy) {
  Plain x;
  Meeting meeting;
  WaitGroup all;
  all.add(1);
  const auto read = [&] {
    if (racy) {
      reads_after(true, x, meeting, [] {});
    } else {
      use(x);
    }
    all.done();
  };
  if (racy) go(read);
  std::thread foreign([&] {
    if (racy) meeting.meet();
    x.value = 1;
    meeting.say();
    if (!racy) static_cast<void>(post(read));
  });
  all.wait();
  foreign.join();
}

void a_foreign_thread_that_waits(bool racy) {
  Plain x;
  Meeting meeting;
  auto ended = make_chan<int>(1);
  std::thread foreign([&] {
    if (racy) {
      std::thread other([&] {
        EXPECT_TRUE(run_and_wait([&] {
                      meeting.meet();
                      x.value = 1;
                      meeting.say();
                    }).has_value());
      });
      reads_after(true, x, meeting, [] {});
      other.join();
    } else {
      EXPECT_TRUE(run_and_wait([&] { x.value = 1; }).has_value());
      use(x);
    }
    ended.send(1);
  });
  EXPECT_TRUE(ended.recv().has_value());
  foreign.join();
}

struct Program {
  const char* name;
  void (*run)(bool racy);
};

constexpr Program kPrograms[] = {
    {"an atomic", &through_object<AnAtomic>},
    {"a buffered channel", &through_object<BufferedChan>},
    {"room in a buffered channel", &through_object<RoomInChan>},
    {"an unbuffered channel", &unbuffered_chan},
    {"a channel's close", &through_object<ClosedChan>},
    {"select", &through_object<Select>},
    {"Mutex", &through_object<AMutex>},
    {"Mutex with a context", &through_object<AMutexWithContext>},
    {"RWMutex, from a writer to readers", &through_object<ReadersAfterWriter>},
    {"RWMutex, from readers to a writer", &through_object<WriterAfterReaders>},
    {"Once", &through_object<AOnce>},
    {"WaitGroup", &through_object<AWaitGroup>},
    {"Cond", &through_object<ACond>},
    {"Semaphore", &through_object<ASemaphore>},
    {"Context::err", &through_object<AContext>},
    {"Context::done", &through_object<DoneChannel>},
    {"after_func of a context", &a_function_after_a_context},
    {"after_func of a timer", &the_start_of_a_timer},
    {"singleflight", &through_object<Flights>},
    {"Pool", &through_object<PooledObject>},
    {"go", &the_go_statement},
    {"Task", &join_of_a_task},
    {"Group", &members_of_a_group},
    {"WorkPool", &jobs_of_a_work_pool},
    {"blocking", &a_blocking_call},
    {"post", &a_foreign_thread_that_posts},
    {"run_and_wait", &a_foreign_thread_that_waits},
};

constexpr const char* kWhich = "HEDDLE_RACE_PROGRAMS";  // in the child's environment: "racy" or "right"
constexpr const char* kMark = "--- program: ";

// Run by the tests below in a process of its own.
TEST(RaceProgram, DISABLED_all) {
  const char* which = std::getenv(kWhich);
  ASSERT_NE(which, nullptr);
  for (const Program& p : kPrograms) {
    std::fprintf(stderr, "%s%s\n", kMark, p.name);
    run([&] { p.run(std::strcmp(which, "racy") == 0); }, {.procs = 2, .preempt = false});
  }
  std::fprintf(stderr, "%send\n", kMark);
}

// What all programs of one kind print, by the names of the programs; and how their process ended, as "status".
std::map<std::string, std::string> output_of(const char* which) {
  const char* given = std::getenv("TSAN_OPTIONS");
  const std::string options = std::string(given == nullptr ? "" : given) +
                              " halt_on_error=0 exitcode=66 log_path=stderr suppress_equal_stacks=0"
                              " suppress_equal_addresses=0";
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command = "TSAN_OPTIONS='" + options + "' " + kWhich + "=" + which + " '" + self +
                              "' --gtest_also_run_disabled_tests --gtest_filter=RaceProgram.DISABLED_all 2>&1";
  std::map<std::string, std::string> by_name;
  FILE* child = popen(command.c_str(), "r");
  if (child == nullptr) return by_name;
  std::string name = "start";
  char* line = nullptr;
  std::size_t room = 0;
  while (getline(&line, &room, child) > 0) {
    const std::string_view text(line);
    if (text.starts_with(kMark)) {
      name = text.substr(std::strlen(kMark), text.size() - std::strlen(kMark) - 1);
      by_name[name];
    } else {
      by_name[name] += text;
    }
  }
  std::free(line);
  const int status = pclose(child);
  by_name["status"] = WIFEXITED(status) ? std::to_string(WEXITSTATUS(status)) : "signal";
  return by_name;
}

constexpr const char* kReport = "WARNING: ThreadSanitizer: data race";

TEST(Race, each_racy_program_is_reported) {
  if (!HEDDLE_TSAN) GTEST_SKIP() << "only ThreadSanitizer's build sees races";
  const auto output = output_of("racy");
  ASSERT_TRUE(output.contains("end"));
  EXPECT_EQ(output.at("status"), "66");
  for (const Program& p : kPrograms) {
    EXPECT_TRUE(output.at(p.name).contains(kReport)) << p.name << ": " << output.at(p.name);
  }
}

TEST(Race, no_right_program_is_reported) {
  if (!HEDDLE_TSAN) GTEST_SKIP() << "only ThreadSanitizer's build sees races";
  const auto output = output_of("right");
  ASSERT_TRUE(output.contains("end"));
  EXPECT_EQ(output.at("status"), "0");
  for (const Program& p : kPrograms) {
    EXPECT_FALSE(output.at(p.name).contains("ThreadSanitizer")) << p.name << ": " << output.at(p.name);
  }
}

}  // namespace
}  // namespace heddle
