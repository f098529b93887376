// SPDX-License-Identifier: Apache-2.0
// Memory for packed weights: zeroed and 64-byte aligned. Large blocks use huge pages where the
// system gives them. Decoding streams through all weights for each token. Without huge pages,
// misses of the translation buffer would cost a tenth of the bandwidth.
#pragma once
#include <cstddef>
#include <cstdint>

namespace espalier::kernels {

class PackedMemory {
 public:
  PackedMemory() = default;
  // Error(unsupported) when the system has no such memory.
  explicit PackedMemory(std::int64_t bytes);
  ~PackedMemory();
  PackedMemory(const PackedMemory&) = delete;
  PackedMemory& operator=(const PackedMemory&) = delete;
  PackedMemory(PackedMemory&& other) noexcept;
  PackedMemory& operator=(PackedMemory&& other) noexcept;

  unsigned char* data() const { return data_; }

 private:
  // The argument of munmap. data_ lies within, at a multiple of 2 MiB when large.
  void* map_ = nullptr;
  std::size_t map_bytes_ = 0;
  unsigned char* data_ = nullptr;
};

}  // namespace espalier::kernels
