#include <heddle/http/compress.h>

#include <array>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <heddle/core/pool.h>
#include <heddle/http/body_filter.h>
#include <heddle/http/conditional.h>
#include <heddle/http/internal/encoder.h>
#include <heddle/http/internal/pool.h>
#include <heddle/http/negotiate.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

struct MakeEncoder {
  Coding coding;
  int level;
  std::unique_ptr<Encoder> operator()() const { return make_encoder(coding, level); }
};
using EncoderPool = Pool<std::unique_ptr<Encoder>, MakeEncoder>;
using PooledEncoder = Pooled<std::unique_ptr<Encoder>>;

std::optional<Coding> coding_of(std::string_view name) noexcept {
  if (name == "gzip") return Coding::kGzip;
  if (name == "br") return Coding::kBrotli;
  if (name == "zstd") return Coding::kZstd;
  return std::nullopt;
}

// What all requests of one middleware share.
struct Compressor {
  explicit Compressor(CompressOptions chosen)
      : options(std::move(chosen)),
        gzip(MakeEncoder{Coding::kGzip, options.gzip_level}),
        brotli(MakeEncoder{Coding::kBrotli, options.brotli_quality}),
        zstd(MakeEncoder{Coding::kZstd, options.zstd_level}) {
    for (const std::string& name : options.codings) {
      if (!coding_of(name)) throw std::invalid_argument("compress: no such coding: \"" + name + "\"");
      offers.emplace_back(name);
    }
    if (!is_level(Coding::kGzip, options.gzip_level) || !is_level(Coding::kBrotli, options.brotli_quality) ||
        !is_level(Coding::kZstd, options.zstd_level)) {
      throw std::invalid_argument("compress: no such level");
    }
    if (!options.types) throw std::invalid_argument("compress: no media types");
  }
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  PooledEncoder encoder(std::string_view coding) {
    switch (*coding_of(coding)) {
      case Coding::kGzip: return gzip.get();
      case Coding::kBrotli: return brotli.get();
      case Coding::kZstd: return zstd.get();
    }
    std::unreachable();
  }

  const CompressOptions options;
  std::vector<std::string_view> offers;  // views of options.codings
  EncoderPool gzip;
  EncoderPool brotli;
  EncoderPool zstd;
};

bool has_directive(std::string_view list, std::string_view directive) noexcept {
  while (!list.empty()) {
    if (equal_fold(next_element(list), directive)) return true;
  }
  return false;
}

bool forbids_transform(const Request& request) noexcept {
  for (const HeaderField field : request.headers()) {
    if (equal_fold(field.name, "Cache-Control") && has_directive(field.value, "no-transform")) return true;
  }
  return false;
}

// The element among all lines of the response's field.
bool has_element(const ResponseWriter& writer, std::string_view name, std::string_view element) noexcept {
  for (std::size_t i = 0;; ++i) {
    const std::optional<std::string_view> line = writer.header(name, i);
    if (!line) return false;
    if (has_directive(*line, element)) return true;
  }
}

void weaken_etag(ResponseWriter& writer) {
  const std::optional<std::string_view> etag = writer.header("ETag");
  if (!etag || !etag->starts_with('"')) return;
  writer.set_header("ETag", "W/" + std::string(*etag));
}

void vary_by_encoding(ResponseWriter& writer) {
  if (has_element(writer, "Vary", "*") || has_element(writer, "Vary", "Accept-Encoding")) return;
  writer.add_header("Vary", "Accept-Encoding");
}

// True for a response that may be encoded, whatever its length and the client say.
bool is_encodable(const ResponseWriter& writer, const CompressOptions& options) {
  switch (writer.status()) {
    case kStatusNoContent:
    case kStatusResetContent:
    case kStatusPartialContent:
    case kStatusNotModified: return false;
    default: break;
  }
  for (const char* name :
       {"Content-Range", "Content-Encoding", "Content-Digest", "Repr-Digest", "Digest", "Content-MD5"}) {
    if (writer.header(name)) return false;
  }
  const std::optional<std::string_view> type = writer.header("Content-Type");
  return type && options.types(*type) && !has_element(writer, "Cache-Control", "no-transform");
}

// A part of what is encoded when it is asked for as a whole. Several parts do not say of what type.
bool is_part_of_encodable(const ResponseWriter& writer, const CompressOptions& options) {
  if (writer.status() != kStatusPartialContent || writer.header("Content-Encoding")) return false;
  const std::optional<std::string_view> type = writer.header("Content-Type");
  return type && (type->starts_with("multipart/byteranges") || options.types(*type));
}

// One response. It holds back what is written until it knows whether that is worth encoding:
//
//   kUndecided --- min_size bytes, or their announcement, or a flush ---> kEncoded
//        '-------- cannot or need not be encoded, or the end -----------> kPlain
class Filter final : public BodyFilter {
 public:
  Filter(Compressor& compressor, const Request& request, ResponseWriter& writer)
      : BodyFilter(writer), compressor_(compressor), request_(request) {}
  ~Filter() override {
    if (buffer_ != nullptr) pool_put(PoolId::kBuffer, buffer_);
  }

  /// The handler has returned.
  void finish(ResponseWriter& writer);

 private:
  enum class State : std::uint8_t { kUndecided, kPlain, kEncoded };

  Result<void> write(ResponseWriter& writer, std::string_view bytes) override;
  Result<void> flush(ResponseWriter& writer) override;
  void forget() noexcept override;

  void decide(ResponseWriter& writer, std::uint64_t known_size);
  void begin_encoding(ResponseWriter& writer);
  void finish_not_modified(ResponseWriter& writer);
  Result<void> release(ResponseWriter& writer);
  Result<void> pass(ResponseWriter& writer, std::string_view bytes);
  Result<void> encode(ResponseWriter& writer, std::string_view bytes, Encoder::Until until);

  Compressor& compressor_;
  const Request& request_;
  State state_ = State::kUndecided;
  bool failed_ = false;
  std::string held_;                        // kUndecided: what was written so far
  std::optional<std::uint64_t> announced_;  // kEncoded: the handler's Content-Length
  std::uint64_t taken_ = 0;                 // kEncoded: bytes that it wrote
  PooledEncoder encoder_;
  char* buffer_ = nullptr;
};

Result<void> Filter::write(ResponseWriter& writer, std::string_view bytes) {
  if (state_ == State::kUndecided) {
    decide(writer, held_.size() + bytes.size());
    if (state_ == State::kUndecided) {
      held_.append(bytes);
      return {};
    }
  }
  if (const Result<void> released = release(writer); !released) return released;
  if (state_ == State::kPlain) pass_all();
  return pass(writer, bytes);
}

Result<void> Filter::flush(ResponseWriter& writer) {
  if (state_ == State::kUndecided) decide(writer, compressor_.options.min_size);  // there may be any number more
  if (const Result<void> released = release(writer); !released) return released;
  if (state_ == State::kEncoded) {
    if (const Result<void> flushed = encode(writer, {}, Encoder::Until::kFlushed); !flushed) return flushed;
  }
  return writer.flush();
}

void Filter::forget() noexcept {
  state_ = State::kUndecided;
  failed_ = false;
  held_.clear();
  announced_.reset();
  taken_ = 0;
  encoder_ = {};
  if (buffer_ != nullptr) pool_put(PoolId::kBuffer, std::exchange(buffer_, nullptr));
}

// Decides, if it can be decided with that many bytes known of.
void Filter::decide(ResponseWriter& writer, std::uint64_t known_size) {
  const CompressOptions& options = compressor_.options;
  if (!is_encodable(writer, options)) {
    if (is_part_of_encodable(writer, options)) vary_by_encoding(writer);  // as 200 would: RFC 9110 s15.3.7
    state_ = State::kPlain;
    return;
  }
  const std::optional<std::uint64_t> announced = writer.content_length();
  if (announced.value_or(known_size) < options.min_size) {
    if (announced) state_ = State::kPlain;
    return;
  }
  vary_by_encoding(writer);
  state_ = State::kPlain;
  if (forbids_transform(request_)) return;
  const std::string_view coding = choose_coding(request_.headers(), compressor_.offers);
  if (coding.empty()) return;
  writer.set_header("Content-Encoding", coding);
  begin_encoding(writer);
  if (request_.method() == Method::kHead) return;
  encoder_ = compressor_.encoder(coding);
  buffer_ = static_cast<char*>(pool_get(PoolId::kBuffer));
  failed_ = !(*encoder_)->restart();
}

void Filter::begin_encoding(ResponseWriter& writer) {
  state_ = State::kEncoded;
  announced_ = writer.content_length();
  writer.remove_header("Content-Length");
  writer.remove_header("Accept-Ranges");  // of the bytes as they were
  weaken_etag(writer);
}

// What was held back, on its way.
Result<void> Filter::release(ResponseWriter& writer) {
  const std::string held = std::exchange(held_, {});
  return held.empty() ? Result<void>() : pass(writer, held);
}

Result<void> Filter::pass(ResponseWriter& writer, std::string_view bytes) {
  return state_ == State::kPlain ? writer.write(bytes) : encode(writer, bytes, Encoder::Until::kTaken);
}

Result<void> Filter::encode(ResponseWriter& writer, std::string_view bytes, Encoder::Until until) {
  if (announced_ && bytes.size() > *announced_ - taken_) return std::unexpected(Error{Code::kInvalid, 0, "compress"});
  taken_ += bytes.size();
  if (request_.method() == Method::kHead) return {};
  for (;;) {
    if (failed_) return std::unexpected(Error{Code::kNoResources, 0, "compress"});
    const Encoder::Step step = (*encoder_)->step(bytes, {buffer_, kBufferSize}, until);
    failed_ = step.failed;
    if (step.produced != 0) {
      if (const Result<void> written = writer.write(std::string_view(buffer_, step.produced)); !written) return written;
    }
    if (step.done) return {};
  }
}

void Filter::finish(ResponseWriter& writer) {
  leave();
  if (writer.status() == kStatusNotModified && !writer.started()) return finish_not_modified(writer);
  if (state_ == State::kUndecided && (!held_.empty() || writer.content_length())) {
    decide(writer, held_.size());  // a HEAD's handler may have announced its length and written nothing
    if (state_ == State::kUndecided) state_ = State::kPlain;
    static_cast<void>(release(writer));
  }
  if (state_ != State::kEncoded) return;
  if (request_.method() == Method::kHead) {
    static_cast<void>(writer.flush());  // else the server would say that there is no body
  } else if ((announced_ && taken_ != *announced_) || !encode(writer, {}, Encoder::Until::kEnded)) {
    writer.cut();
  }
}

// What 200 would say (RFC 9110 s15.4.5), and the tag as the client has it.
void Filter::finish_not_modified(ResponseWriter& writer) {
  vary_by_encoding(writer);
  const std::optional<std::string_view> etag = writer.header("ETag");
  if (!etag) return;
  bool strong = false;
  bool weak = false;
  for (const HeaderField field : request_.headers()) {
    if (!equal_fold(field.name, "If-None-Match")) continue;
    strong = strong || etag_list_has(field.value, *etag, TagComparison::kStrong);
    weak = weak || etag_list_has(field.value, *etag, TagComparison::kWeak);
  }
  if (weak && !strong) weaken_etag(writer);
}

}  // namespace

Middleware compress(CompressOptions options) {
  const auto compressor = std::make_shared<Compressor>(std::move(options));
  return [compressor](Handler next) -> Handler {
    return [compressor, next = std::move(next)](Request& request, ResponseWriter& writer) {
      Filter filter(*compressor, request, writer);
      next(request, writer);
      filter.finish(writer);
    };
  };
}

}  // namespace heddle::http
