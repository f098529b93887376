// SPDX-License-Identifier: Apache-2.0
// Memory for packed weights: zeroed, 64-byte aligned, in huge pages where it is large and the
// system gives them (decoding streams through all of it for each token, and misses of the
// translation buffer would cost a tenth of the bandwidth).
#pragma once
#include <cstddef>
#include <cstdint>

namespace espalier::kernels {

class PackedMemory {
 public:
  PackedMemory() = default;
  explicit PackedMemory(
      std::int64_t bytes);  // Error(unsupported) when the system has no such memory
  ~PackedMemory();
  PackedMemory(const PackedMemory&) = delete;
  PackedMemory& operator=(const PackedMemory&) = delete;
  PackedMemory(PackedMemory&& other) noexcept;
  PackedMemory& operator=(PackedMemory&& other) noexcept;

  unsigned char* data() const { return data_; }

 private:
  void* map_ = nullptr;  // what munmap gets; data_ lies within, at a multiple of 2 MiB when large
  std::size_t map_bytes_ = 0;
  unsigned char* data_ = nullptr;
};

}  // namespace espalier::kernels
