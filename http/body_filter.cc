#include <heddle/http/body_filter.h>

#include <heddle/core/check.h>

namespace heddle::http {

BodyFilter::BodyFilter(ResponseWriter& writer) noexcept : writer_(writer), outer_(writer.filter_) {
  writer.filter_ = this;
}

void BodyFilter::leave() noexcept {
  if (!there_) return;
  there_ = false;
  HEDDLE_CHECK(writer_.filter_ == this);  // F2
  writer_.filter_ = outer_;
}

}  // namespace heddle::http
