// Why a goroutine waits. The texts follow Go's list, so that a dump reads like a report.
#pragma once

#include <cstdint>

namespace heddle {

enum class WaitReason : std::uint8_t {
  kNone,
  kChanReceive,
  kChanSend,
  kChanReceiveNil,
  kChanSendNil,
  kSelect,
  kSelectNoCases,
  kSleep,
  kMutexLock,
  kSemAcquire,
  kWaitGroupWait,
  kRWMutexRLock,
  kRWMutexLock,
  kCondWait,
  kIoWait,
  kAccept,
  kConnect,
  kHttpBody,
  kHttpWrite,
  kBlocking,
  kTaskJoin,
  kWorkPoolSubmit,
  kWorkPoolIdle,
  kWorkPoolWait,
  kOther,
};

/// Go's words for it: "chan receive", "select", "IO wait".
[[nodiscard]] const char* to_string(WaitReason reason) noexcept;

}  // namespace heddle
