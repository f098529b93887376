// SPDX-License-Identifier: Apache-2.0
// Counts the memory that a rendering holds.
#pragma once
#include <cstdint>
#include <memory>
#include <utility>

namespace espalier::text::jinja {

using Meter = std::shared_ptr<std::uint64_t>;

// Bytes that count as long as it lives.
class Held {
 public:
  Held() = default;
  Held(Meter meter, std::uint64_t bytes) : meter_(std::move(meter)), bytes_(bytes) {
    if (meter_ != nullptr) *meter_ += bytes_;
  }
  ~Held() {
    if (meter_ != nullptr) *meter_ -= bytes_;
  }
  Held(Held&& other) noexcept
      : meter_(std::exchange(other.meter_, nullptr)), bytes_(other.bytes_) {}
  Held& operator=(Held&& other) noexcept {
    std::swap(meter_, other.meter_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

 private:
  Meter meter_;
  std::uint64_t bytes_ = 0;
};

}  // namespace espalier::text::jinja
