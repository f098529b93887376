// SPDX-License-Identifier: Apache-2.0
// Counts the bytes that tensors of one device ask for. The device `meta` counts too, although it
// gives no memory: so what a computation needs is known without doing it. Scratch that LibTorch or
// our own loops take from elsewhere is not seen.
#pragma once
#include <c10/core/Device.h>

#include <cstdint>

namespace espalier::model {

// Counts while it lives. One at a time for each device. Only cpu and meta, whose allocators give
// exactly what is asked for.
class AllocationCounter {
 public:
  explicit AllocationCounter(c10::DeviceType device);
  ~AllocationCounter();
  AllocationCounter(const AllocationCounter&) = delete;
  AllocationCounter& operator=(const AllocationCounter&) = delete;

  // What is held of what was asked for since this counter was made.
  std::int64_t held() const;
  // The most that was held at a time since the last call of forget_peak().
  std::int64_t peak() const;
  void forget_peak();

 private:
  c10::DeviceType device_;
};

}  // namespace espalier::model
