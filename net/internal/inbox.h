// Inbox: what other Ms ask of a worker's poller. A stack of descriptors, pushed by anybody, emptied by the home in one go.
//
// A descriptor is in at most one inbox, its home's, and at most once: it carries the bits of what is asked (`requests`),
// and only who finds them zero pushes it. So requests coalesce, nothing is allocated, and a push never fails.
//
// I1. Who pushes takes a hold on the descriptor (fd_lock.h), and the home drops it after serving; so a slot is never
//     recycled while it is linked here.
// I2. The home exchanges `requests` with zero after it has read `next`: only then can somebody push the descriptor again.
#pragma once

#include <atomic>

namespace heddle::net {

struct PollDesc;

class Inbox {
 public:
  [[nodiscard]] bool empty() const noexcept {
    return head_.load(std::memory_order_relaxed) == nullptr;  // a hint; who pushes rings the doorbell afterwards
  }

  /// Links a node that is in no list. Threads: any. `Node` is PollDesc.
  template <class Node>
  void push(Node& node) noexcept {
    PollDesc* old = head_.load(std::memory_order_relaxed);
    do {
      node.next = old;
      // release: the node's `next`, to take_all(). What is asked is published by the RMW of `requests`.
    } while (!head_.compare_exchange_weak(old, &node, std::memory_order_release, std::memory_order_relaxed));
  }

  /// Takes everything, the oldest first. Threads: the home.
  template <class Node = PollDesc>
  [[nodiscard]] Node* take_all() noexcept {
    // acquire: pairs with the release of every push in the list (a chain of RMWs).
    Node* rest = head_.exchange(nullptr, std::memory_order_acquire);
    Node* oldest = nullptr;
    while (rest != nullptr) {
      Node* next = static_cast<Node*>(rest->next);
      rest->next = oldest;
      oldest = rest;
      rest = next;
    }
    return oldest;
  }

 private:
  alignas(64) std::atomic<PollDesc*> head_{nullptr};  // written by every M
};

}  // namespace heddle::net
