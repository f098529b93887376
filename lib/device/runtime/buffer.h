// SPDX-License-Identifier: Apache-2.0
// Uninitialised scratch memory, aligned for vector loads. Pages cost nothing until they are
// touched, so buffers may be sized for the worst case.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <type_traits>

#include "core/error.h"

namespace espalier::runtime {

template <typename T>
class Buffer {
  static_assert(std::is_trivial_v<T>);

 public:
  Buffer() = default;
  explicit Buffer(std::int64_t n) {
    constexpr std::size_t kAlign = 64;
    const std::size_t bytes =
        (static_cast<std::size_t>(n) * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    data_.reset(static_cast<T*>(std::aligned_alloc(kAlign, bytes > 0 ? bytes : kAlign)));
    bytes_ = static_cast<std::int64_t>(bytes);
    ESP_CHECK(data_ != nullptr, input, "not enough memory for a buffer of ", bytes,
              " bytes: use a smaller --context");
  }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::int64_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  std::int64_t bytes_ = 0;
};

}  // namespace espalier::runtime
