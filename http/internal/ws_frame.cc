#include <heddle/http/internal/ws_frame.h>

#include <cstring>

namespace heddle::http::ws {
namespace {

constexpr std::uint8_t kFin = 0x80;
constexpr std::uint8_t kRsv1 = 0x40;
constexpr std::uint8_t kRsv23 = 0x30;
constexpr std::uint8_t kMasked = 0x80;

std::uint8_t byte_at(std::string_view bytes, std::size_t i) noexcept { return static_cast<std::uint8_t>(bytes[i]); }

const char* first_byte_fault(std::uint8_t first, bool rsv1) noexcept {
  const unsigned opcode = first & 15;
  if (opcode > 10 || (opcode > 2 && opcode < 8)) return "unknown opcode";
  if ((first & kRsv23) != 0) return "reserved bit";
  if ((first & kRsv1) != 0 && (!rsv1 || (opcode != 1 && opcode != 2))) return "reserved bit";
  if (opcode >= 8 && (first & kFin) == 0) return "fragmented control frame";
  return nullptr;
}

const char* second_byte_fault(std::uint8_t first, std::uint8_t second, Role role) noexcept {
  if (((second & kMasked) != 0) != (role == Role::kServer)) {
    return role == Role::kServer ? "frame without mask" : "frame with mask";
  }
  if ((first & 8) != 0 && (second & 127) > kMaxControl) return "control frame too long";
  return nullptr;
}

}  // namespace

HeadRead read_head(std::string_view bytes, Role role, bool rsv1, FrameHead& head) noexcept {
  if (bytes.empty()) return {};
  const std::uint8_t first = byte_at(bytes, 0);
  if (const char* fault = first_byte_fault(first, rsv1)) return {.broken = fault};
  if (bytes.size() < 2) return {};
  const std::uint8_t second = byte_at(bytes, 1);
  if (const char* fault = second_byte_fault(first, second, role)) return {.broken = fault};

  std::uint64_t length = second & 127;
  std::size_t at = 2;
  if (length >= 126) {
    const std::size_t width = length == 126 ? 2 : 8;
    if (width == 8 && bytes.size() > 2 && (byte_at(bytes, 2) & 0x80) != 0) return {.broken = "length beyond 63 bits"};
    if (bytes.size() < at + width) return {};
    length = 0;
    for (; at < 2 + width; ++at) length = length << 8 | byte_at(bytes, at);
    if (length < (width == 2 ? 126U : 65536U)) return {.broken = "length not minimal"};
  }
  head = {.opcode = static_cast<Opcode>(first & 15),
          .fin = (first & kFin) != 0,
          .rsv1 = (first & kRsv1) != 0,
          .masked = (second & kMasked) != 0,
          .mask = {},
          .length = length};
  if (head.masked) {
    if (bytes.size() < at + head.mask.size()) return {};
    std::memcpy(head.mask.data(), bytes.data() + at, head.mask.size());
    at += head.mask.size();
  }
  return {.size = at};
}

std::size_t put_head(const FrameHead& head, std::span<char, kMaxFrameHead> to) noexcept {
  std::size_t size = 0;
  auto put = [&](std::uint64_t byte) { to[size++] = static_cast<char>(byte); };
  put(static_cast<unsigned>(head.opcode) | (head.fin ? kFin : 0U) | (head.rsv1 ? kRsv1 : 0U));
  const unsigned mask_bit = head.masked ? kMasked : 0U;
  if (head.length < 126) {
    put(head.length | mask_bit);
  } else {
    const int width = head.length < 65536 ? 2 : 8;
    put((width == 2 ? 126U : 127U) | mask_bit);
    for (int shift = 8 * (width - 1); shift >= 0; shift -= 8) put(head.length >> shift & 255);
  }
  if (head.masked) {
    for (const std::uint8_t byte : head.mask) put(byte);
  }
  return size;
}

void apply_mask(std::span<char> bytes, const Mask& mask, std::uint64_t at) noexcept {
  // The mask as it falls on eight bytes in a row, from here on: eight is a multiple of four, so it stays the same.
  std::array<std::uint8_t, 8> turned;
  for (std::size_t i = 0; i < turned.size(); ++i) turned[i] = mask[(at + i) % mask.size()];
  std::uint64_t wide = 0;
  std::memcpy(&wide, turned.data(), sizeof(wide));
  std::size_t i = 0;
  for (; bytes.size() - i >= sizeof(wide); i += sizeof(wide)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, sizeof(word));
    word ^= wide;
    std::memcpy(bytes.data() + i, &word, sizeof(word));
  }
  for (; i < bytes.size(); ++i) bytes[i] = static_cast<char>(bytes[i] ^ turned[i % turned.size()]);
}

}  // namespace heddle::http::ws
