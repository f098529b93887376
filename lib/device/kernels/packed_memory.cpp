// SPDX-License-Identifier: Apache-2.0
// Anonymous mappings: zeroed by the kernel, and returned to it when the matrix is destroyed.
#include "kernels/packed_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace espalier::kernels {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

PackedMemory::PackedMemory(std::int64_t bytes) {
  const std::size_t wanted = static_cast<std::size_t>(bytes);
  if (wanted == 0) return;
  const bool large = wanted >= kHugePage;
  // The untouched pages of the surplus cost nothing.
  map_bytes_ = wanted + (large ? kHugePage : 0);
  map_ = mmap(nullptr, map_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map_ == MAP_FAILED) {
    map_ = nullptr;
    core::fail(core::ErrorKind::unsupported, "not enough memory for ", bytes,
               " bytes of packed weights: ", std::strerror(errno));
  }
  data_ = static_cast<unsigned char*>(map_);
  if (large) {
    const std::size_t past = reinterpret_cast<std::uintptr_t>(data_) % kHugePage;
    if (past != 0) data_ += kHugePage - past;
    madvise(data_, wanted / kHugePage * kHugePage, MADV_HUGEPAGE);  // a refusal only costs speed
  }
}

PackedMemory::~PackedMemory() {
  if (map_ != nullptr) munmap(map_, map_bytes_);
}

PackedMemory::PackedMemory(PackedMemory&& other) noexcept
    : map_(std::exchange(other.map_, nullptr)),
      map_bytes_(std::exchange(other.map_bytes_, 0)),
      data_(std::exchange(other.data_, nullptr)) {}

PackedMemory& PackedMemory::operator=(PackedMemory&& other) noexcept {
  std::swap(map_, other.map_);
  std::swap(map_bytes_, other.map_bytes_);
  std::swap(data_, other.data_);
  return *this;
}

}  // namespace espalier::kernels
