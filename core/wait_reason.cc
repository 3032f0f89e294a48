#include <heddle/core/wait_reason.h>

namespace heddle {

const char* to_string(WaitReason reason) noexcept {
  switch (reason) {
    case WaitReason::kNone: return "";
    case WaitReason::kChanReceive: return "chan receive";
    case WaitReason::kChanSend: return "chan send";
    case WaitReason::kChanReceiveNil: return "chan receive (nil chan)";
    case WaitReason::kChanSendNil: return "chan send (nil chan)";
    case WaitReason::kSelect: return "select";
    case WaitReason::kSelectNoCases: return "select (no cases)";
    case WaitReason::kSleep: return "sleep";
    case WaitReason::kMutexLock: return "sync.Mutex.Lock";
    case WaitReason::kSemAcquire: return "semacquire";
    case WaitReason::kWaitGroupWait: return "sync.WaitGroup.Wait";
    case WaitReason::kRWMutexRLock: return "sync.RWMutex.RLock";
    case WaitReason::kRWMutexLock: return "sync.RWMutex.Lock";
    case WaitReason::kCondWait: return "sync.Cond.Wait";
    case WaitReason::kIoWait: return "IO wait";
    case WaitReason::kAccept: return "accept";
    case WaitReason::kConnect: return "connect";
    case WaitReason::kHttpBody: return "http body read";
    case WaitReason::kHttpWrite: return "http write";
    case WaitReason::kBlocking: return "blocking call";
    case WaitReason::kTaskJoin: return "task join";
    case WaitReason::kWorkPoolSubmit: return "work pool submit";
    case WaitReason::kWorkPoolIdle: return "work pool (idle)";
    case WaitReason::kWorkPoolWait: return "work pool wait";
    case WaitReason::kOther: return "waiting";
  }
  return "unknown";
}

}  // namespace heddle
