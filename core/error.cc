#include <heddle/core/error.h>

#include <cerrno>
#include <cstring>

namespace heddle {

Error Error::from_errno(int err, const char* op) noexcept {
  Code code = Code::kSystem;
  switch (err) {
    case EAGAIN: code = Code::kWouldBlock; break;
    case ETIMEDOUT: code = Code::kTimeout; break;
    case EBADF: code = Code::kClosed; break;
    case ECANCELED: code = Code::kCanceled; break;
    case EINVAL:
    case EAFNOSUPPORT:
    case EADDRNOTAVAIL: code = Code::kInvalid; break;
    case ECONNREFUSED: code = Code::kRefused; break;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE: code = Code::kReset; break;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN: code = Code::kUnreachable; break;
    case EADDRINUSE: code = Code::kAddressInUse; break;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: code = Code::kNoResources; break;
    case EPROTO: code = Code::kProtocol; break;
    case ENOSYS:
    case EOPNOTSUPP: code = Code::kUnsupported; break;
    case ENOENT: code = Code::kNotFound; break;
    case EEXIST: code = Code::kExists; break;
    case EACCES:
    case EPERM: code = Code::kDenied; break;
    default: break;  // kSystem: `sys` says which
  }
  return Error{code, err, op};
}

const char* to_string(Code code) noexcept {
  switch (code) {
    case Code::kOk: return "ok";
    case Code::kEof: return "end of stream";
    case Code::kWouldBlock: return "would block";
    case Code::kTimeout: return "timeout";
    case Code::kClosed: return "closed";
    case Code::kCanceled: return "canceled";
    case Code::kInvalid: return "invalid argument";
    case Code::kRefused: return "connection refused";
    case Code::kReset: return "connection reset";
    case Code::kUnreachable: return "unreachable";
    case Code::kAddressInUse: return "address in use";
    case Code::kNoResources: return "out of resources";
    case Code::kLimit: return "limit reached";
    case Code::kProtocol: return "protocol error";
    case Code::kUnsupported: return "not supported";
    case Code::kNotFound: return "not found";
    case Code::kExists: return "exists already";
    case Code::kDenied: return "permission denied";
    case Code::kSystem: return "system error";
  }
  return "unknown error";
}

std::string Error::message() const {
  std::string text = op;
  if (!text.empty()) text += ": ";
  if (sys == 0) return text + to_string(code);
  char buffer[128];
  text += ::strerror_r(sys, buffer, sizeof buffer);
  const char* name = ::strerrorname_np(sys);
  text += " (";
  if (name != nullptr) {
    text += name;
    text += ' ';
  }
  return text + std::to_string(sys) + ")";
}

}  // namespace heddle
