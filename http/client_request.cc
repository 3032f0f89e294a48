#include <heddle/http/client_request.h>

namespace heddle::http {
namespace {

// A body that was announced and has no source would leave the server waiting, or taking the next request for it.
constexpr Error kNoSource{Code::kInvalid, 0, "http: request body"};

class CallbackReader final : public net::Reader {
 public:
  explicit CallbackReader(std::function<Result<std::size_t>(std::span<std::byte>)> fill) : fill_(std::move(fill)) {}
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override { return fill_(buf); }

 private:
  std::function<Result<std::size_t>(std::span<std::byte>)> fill_;
};

}  // namespace

RequestBody RequestBody::bytes(std::string text) {
  RequestBody body;
  body.length_ = text.size();
  body.text_ = std::make_shared<const std::string>(std::move(text));
  return body;
}

RequestBody RequestBody::stream(std::shared_ptr<net::Reader> reader, std::optional<std::uint64_t> length) {
  RequestBody body;
  body.open_ = [reader = std::move(reader)]() -> Result<std::shared_ptr<net::Reader>> { return reader; };
  body.repeatable_ = false;
  body.length_ = length;
  return body;
}

RequestBody RequestBody::stream_from(Open open, std::optional<std::uint64_t> length) {
  RequestBody body;
  if (!open) open = [] { return Result<std::shared_ptr<net::Reader>>(std::unexpected(kNoSource)); };
  body.open_ = std::move(open);
  body.length_ = length;
  return body;
}

RequestBody RequestBody::with_trailers(Trailers trailers) const {
  RequestBody body = *this;
  body.trailers_ = std::make_shared<const Trailers>(std::move(trailers));
  return body;
}

RequestBody RequestBody::callback(std::function<Result<std::size_t>(std::span<std::byte>)> fill,
                                  std::optional<std::uint64_t> length) {
  if (!fill) fill = [](std::span<std::byte>) { return Result<std::size_t>(std::unexpected(kNoSource)); };
  return stream(std::make_shared<CallbackReader>(std::move(fill)), length);
}

}  // namespace heddle::http
