#include <heddle/net/memory.h>

#include <heddle/core/check.h>
#include <heddle/core/test.h>
#include <heddle/net/internal/byte_queue.h>

namespace heddle::net {
namespace {

std::unexpected<Error> closed(const char* op) { return std::unexpected(Error{Code::kClosed, 0, op}); }

}  // namespace

struct MemoryLink {
  explicit MemoryLink(const MemoryOptions& options)
      : queues{ByteQueue(options.capacity), ByteQueue(options.capacity)}, addresses{options.near, options.far} {}

  ByteQueue queues[2];         // [side]: what that side reads
  const Address addresses[2];  // of each side
};

MemoryConn::MemoryConn() noexcept = default;
MemoryConn::MemoryConn(std::shared_ptr<MemoryLink> link, int side) noexcept : link_(std::move(link)), side_(side) {}
MemoryConn::MemoryConn(MemoryConn&& other) noexcept : link_(std::move(other.link_)), side_(other.side_) {}
MemoryConn& MemoryConn::operator=(MemoryConn&& other) noexcept {
  if (this != &other) {
    close();
    link_ = std::move(other.link_);
    side_ = other.side_;
  }
  return *this;
}
MemoryConn::~MemoryConn() { close(); }

ByteQueue* MemoryConn::in() const noexcept { return link_ == nullptr ? nullptr : &link_->queues[side_]; }
ByteQueue* MemoryConn::out() const noexcept { return link_ == nullptr ? nullptr : &link_->queues[1 - side_]; }

Result<std::size_t> MemoryConn::read(const Context& ctx, std::span<std::byte> buf) {
  return link_ == nullptr ? closed("read") : in()->read(ctx, buf);
}

Result<std::size_t> MemoryConn::try_read(std::span<std::byte> buf) {
  return link_ == nullptr ? closed("read") : in()->try_read(buf);
}

Result<void> MemoryConn::wait_readable(const Context& ctx) {
  return link_ == nullptr ? closed("read") : in()->wait_readable(ctx);
}

Result<void> MemoryConn::write(const Context& ctx, std::span<const std::byte> buf) {
  return link_ == nullptr ? closed("write") : out()->write(ctx, buf);
}

Result<void> MemoryConn::close_read() {
  if (link_ == nullptr || in()->reader_closed()) return closed("close_read");
  in()->drop();
  return {};
}

Result<void> MemoryConn::close_write() {
  if (link_ == nullptr || in()->reader_closed()) return closed("close_write");
  out()->end({});
  return {};
}

void MemoryConn::set_read_deadline(TimePoint when) noexcept {
  if (link_ != nullptr) in()->set_read_deadline(to_nanos(when));
}

void MemoryConn::set_write_deadline(TimePoint when) noexcept {
  if (link_ != nullptr) out()->set_write_deadline(to_nanos(when));
}

Result<Address> MemoryConn::address(int side, const char* op) const {
  if (link_ == nullptr || in()->reader_closed()) return closed(op);
  return link_->addresses[side];
}

Result<Address> MemoryConn::local_address() const { return address(side_, "local_address"); }
Result<Address> MemoryConn::remote_address() const { return address(1 - side_, "remote_address"); }

bool MemoryConn::is_alive() const noexcept { return link_ != nullptr && in()->is_quiet(); }

void MemoryConn::close() noexcept {
  if (link_ == nullptr) return;
  in()->close_reader({Code::kReset, 0, "write"});
  out()->close_writer({});
}

std::pair<MemoryConn, MemoryConn> memory_pair(const MemoryOptions& options) {
  const auto link = std::make_shared<MemoryLink>(options);
  return {MemoryConn(link, 0), MemoryConn(link, 1)};
}

MemoryListener::MemoryListener(const MemoryListenOptions& options) : options_(options) {
  waiting_.resize(options.backlog == 0 ? 1 : options.backlog);
}

MemoryListener::~MemoryListener() { MemoryListener::close(); }

Result<MemoryConn> MemoryListener::dial(const MemoryDialOptions& options) {
  heddle::test::yield_point();
  auto [near, far] = memory_pair({.capacity = options_.capacity, .near = options.local, .far = options_.address});
  const std::int64_t deadline = to_nanos(options.deadline);
  WakeList woken;
  lock_.lock();
  for (;;) {
    Error stop;
    if (closed_) {
      stop = {Code::kRefused, 0, "dial"};
    } else if (deadline != kNever && nanotime() >= deadline) {
      stop = {Code::kTimeout, 0, "dial"};
    } else if (const std::optional<Error> over = options.ctx.err()) {
      stop = {over->code, 0, "dial"};
    }
    if (stop.code != Code::kOk) {
      lock_.unlock();
      return std::unexpected(stop);
    }
    if (count_ < waiting_.size()) break;
    Waiter self("dial");
    dialers_.push_back(self);
    lock_.unlock();
    static_cast<void>(
        dialers_.wait(lock_, self, WaitReason::kConnect, deadline, options.ctx.can_be_done() ? &options.ctx : nullptr));
    lock_.lock();
  }
  waiting_[(first_ + count_++) % waiting_.size()] = std::move(far);
  wake_all(accepters_, woken);
  lock_.unlock();
  woken.wake();
  return std::move(near);
}

Result<MemoryConn> MemoryListener::accept(const Context& ctx) {
  heddle::test::yield_point();
  WakeList woken;
  lock_.lock();
  if (accepting_) fatal("a listener in memory: a second goroutine calls accept");
  accepting_ = true;
  for (;;) {
    Error stop;
    if (closed_) {
      stop = {Code::kClosed, 0, "accept"};
    } else if (deadline_ != kNever && nanotime() >= deadline_) {
      stop = {Code::kTimeout, 0, "accept"};
    } else if (const std::optional<Error> over = ctx.err()) {
      stop = {over->code, 0, "accept"};
    }
    if (stop.code != Code::kOk) {
      accepting_ = false;
      lock_.unlock();
      return std::unexpected(stop);
    }
    if (count_ > 0) break;
    Waiter self("accept");
    accepters_.push_back(self);
    const std::int64_t deadline = deadline_;
    lock_.unlock();
    static_cast<void>(accepters_.wait(lock_, self, WaitReason::kAccept, deadline, ctx.can_be_done() ? &ctx : nullptr));
    lock_.lock();
  }
  MemoryConn conn = std::move(waiting_[first_]);
  first_ = (first_ + 1) % waiting_.size();
  --count_;
  accepting_ = false;
  // All that wait for a place: one whose time is up would not pass its wake-up on.
  wake_all(dialers_, woken);
  lock_.unlock();
  woken.wake();
  return conn;
}

Result<std::unique_ptr<Transport>> MemoryListener::accept_transport() {
  Result<MemoryConn> conn = accept();
  if (!conn) return std::unexpected(conn.error());
  return std::make_unique<MemoryConn>(std::move(*conn));
}

void MemoryListener::set_deadline(TimePoint when) noexcept {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    deadline_ = to_nanos(when);
    wake_all(accepters_, woken);
  }
  woken.wake();
}

Result<Address> MemoryListener::local_address() const {
  const LockGuard guard(lock_);
  if (closed_) return closed("local_address");
  return options_.address;
}

void MemoryListener::close() {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    closed_ = true;
    wake_all(accepters_, woken);
    wake_all(dialers_, woken);
  }
  woken.wake();
  // Nobody adds one, or takes one, after closed_ was set under the lock; a second close() may be at it as well.
  for (;;) {
    MemoryConn conn;
    {
      const LockGuard guard(lock_);
      if (count_ == 0) return;
      conn = std::move(waiting_[first_]);
      first_ = (first_ + 1) % waiting_.size();
      --count_;
    }
  }
}

void MemoryListener::wake_all(WaitList& line, WakeList& woken) noexcept {
  while (Waiter* w = line.front()) static_cast<void>(line.take(*w, woken));
}

MemoryReader::MemoryReader() noexcept = default;
MemoryReader::MemoryReader(std::shared_ptr<ByteQueue> queue) noexcept : queue_(std::move(queue)) {}
MemoryReader::MemoryReader(MemoryReader&& other) noexcept : queue_(std::move(other.queue_)) {}
MemoryReader& MemoryReader::operator=(MemoryReader&& other) noexcept {
  if (this != &other) {
    close();
    queue_ = std::move(other.queue_);
  }
  return *this;
}
MemoryReader::~MemoryReader() { close(); }

Result<std::size_t> MemoryReader::read(const Context& ctx, std::span<std::byte> buf) {
  return queue_ == nullptr ? closed("read") : queue_->read(ctx, buf);
}

Result<std::size_t> MemoryReader::try_read(std::span<std::byte> buf) {
  return queue_ == nullptr ? closed("read") : queue_->try_read(buf);
}

Result<void> MemoryReader::wait_readable(const Context& ctx) {
  return queue_ == nullptr ? closed("read") : queue_->wait_readable(ctx);
}

void MemoryReader::set_read_deadline(TimePoint when) noexcept {
  if (queue_ != nullptr) queue_->set_read_deadline(to_nanos(when));
}

void MemoryReader::close_with(const Error& reason) noexcept {
  if (queue_ != nullptr) queue_->close_reader(reason);
}

MemoryWriter::MemoryWriter() noexcept = default;
MemoryWriter::MemoryWriter(std::shared_ptr<ByteQueue> queue) noexcept : queue_(std::move(queue)) {}
MemoryWriter::MemoryWriter(MemoryWriter&& other) noexcept : queue_(std::move(other.queue_)) {}
MemoryWriter& MemoryWriter::operator=(MemoryWriter&& other) noexcept {
  if (this != &other) {
    close();
    queue_ = std::move(other.queue_);
  }
  return *this;
}
MemoryWriter::~MemoryWriter() { close(); }

Result<void> MemoryWriter::write(const Context& ctx, std::span<const std::byte> buf) {
  return queue_ == nullptr ? closed("write") : queue_->write(ctx, buf);
}

void MemoryWriter::set_write_deadline(TimePoint when) noexcept {
  if (queue_ != nullptr) queue_->set_write_deadline(to_nanos(when));
}

void MemoryWriter::close_with(const Error& reason) noexcept {
  if (queue_ != nullptr) queue_->close_writer(reason);
}

MemoryPipe memory_pipe(std::size_t capacity) {
  const auto queue = std::make_shared<ByteQueue>(capacity);
  return {MemoryReader(queue), MemoryWriter(queue)};
}

}  // namespace heddle::net
