// Sinks for the stream tests: one that echoes with back-pressure, one whose calls are the test's.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include <heddle/net/internal/net_poller.h>
#include <heddle/net/stream.h>
#include <heddle/net/stream_listener.h>

#include "net_test_util.h"

namespace heddle::net::test {

/// Echoes what comes; while the peer does not take it, the stream is paused and a goroutine waits.
class EchoAcceptor final : public StreamAcceptor {
 public:
  ~EchoAcceptor() {
    for (Sink* sink : sinks_) delete sink;  // those that the end of a run has cut off
  }
  StreamSink* on_accept(Stream& stream) override {
    accepted.fetch_add(1);
    live.fetch_add(1);
    auto* sink = new Sink(*this, stream);
    const std::lock_guard guard(mutex_);
    sinks_.insert(sink);
    return sink;
  }

  std::atomic<int> accepted{0}, live{0}, flushes{0};

 private:
  class Sink final : public StreamSink {
   public:
    Sink(EchoAcceptor& owner, Stream& stream) : owner_(owner), stream_(stream) {}

    void on_data(std::span<const std::byte> bytes) override {
      const std::lock_guard guard(mutex_);
      EXPECT_FALSE(closed_);
      if (!flushing_) bytes = bytes.subspan(write_some(bytes));
      if (bytes.empty() || failed_) return;
      rest_.insert(rest_.end(), bytes.begin(), bytes.end());
      if (flushing_) return;
      flushing_ = true;
      stream_.pause();
      owner_.flushes.fetch_add(1);
      go([this] { flush(); });
    }
    void on_end(Error) override {
      {
        const std::lock_guard guard(mutex_);
        ended_ = true;
        if (flushing_) return;
      }
      stream_.close();
    }
    void on_timer() override {}
    void on_closed() override {
      EXPECT_FALSE(closed_);
      closed_ = true;
      EchoAcceptor& owner = owner_;
      {
        const std::lock_guard guard(owner.mutex_);
        owner.sinks_.erase(this);
      }
      delete this;
      owner.live.fetch_sub(1);  // last: the test may end now
    }

   private:
    std::size_t write_some(std::span<const std::byte> bytes) {
      const iovec iov{const_cast<std::byte*>(bytes.data()), bytes.size()};
      const Result<std::size_t> n = stream_.try_writev({&iov, 1});
      if (n) return *n;
      failed_ = n.error().code != Code::kWouldBlock;
      return 0;
    }
    void flush() {
      for (;;) {
        const Result<void> ready = stream_.wait_writable(patience());
        const std::lock_guard guard(mutex_);
        if (ready) rest_.erase(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(write_some(rest_)));
        if (ready && !failed_ && !rest_.empty()) continue;
        flushing_ = false;
        if (!ended_) {
          stream_.resume();  // under the lock: an on_end that comes now would close, and free us
          return;
        }
        break;
      }
      stream_.close();
    }

    EchoAcceptor& owner_;
    Stream& stream_;
    std::mutex mutex_;
    std::vector<std::byte> rest_;
    bool flushing_ = false, ended_ = false, failed_ = false, closed_ = false;
  };

  std::mutex mutex_;
  std::set<Sink*> sinks_;
};

/// A sink whose calls are the test's closures.
struct TestSink final : StreamSink {
  explicit TestSink(Stream& s) : stream(s) { live.fetch_add(1); }
  void on_data(std::span<const std::byte> bytes) override {
    if (data) data(bytes);
  }
  std::span<std::byte> lend_room() override { return room ? room() : std::span<std::byte>(); }
  void on_end(Error reason) override {
    if (end) end(reason);
  }
  void on_timer() override {
    if (timer) timer();
  }
  void on_closed() override {
    EXPECT_EQ(current_g(), nullptr);  // on the scheduler's side
    EXPECT_EQ(current_poller(), home);
    if (closed) closed();
    delete this;
    live.fetch_sub(1);  // last: the test may end now
  }

  static inline std::atomic<int> live{0};
  Poller* const home = current_poller();  // made in on_accept: every call comes there

  Stream& stream;
  std::function<void(std::span<const std::byte>)> data;
  std::function<std::span<std::byte>()> room;
  std::function<void(Error)> end;
  std::function<void()> timer;
  std::function<void()> closed;
};

/// Asks the test's closure for a sink.
struct TestAcceptor final : StreamAcceptor {
  explicit TestAcceptor(std::function<StreamSink*(Stream&)> f) : accept(std::move(f)) {}
  StreamSink* on_accept(Stream& stream) override { return accept(stream); }
  std::function<StreamSink*(Stream&)> accept;
};

inline std::unique_ptr<StreamListener> must_listen_streams(StreamAcceptor& acceptor, const Address& address = any_port()) {
  Result<std::unique_ptr<StreamListener>> listener = StreamListener::listen(address, acceptor);
  if (!listener) {
    ADD_FAILURE() << listener.error().message();
    std::abort();
  }
  return std::move(*listener);
}

/// Parks until `done()`; a failure after `patience()`.
template <class Done>
void until(Done done) {
  const TimePoint limit = patience();
  while (!done()) {
    if (now() > limit) {
      FAIL() << "it never came";
    }
    sleep(200us);
  }
}

/// Closes the listener and waits for the streams' ends.
inline void finish(StreamListener& listener) {
  listener.close();
  until([] { return TestSink::live.load() == 0; });
}

}  // namespace heddle::net::test
