// SPDX-License-Identifier: Apache-2.0
// A part of a file, mapped read-only. For files that are larger than the address space that a
// process may use.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/file.h"

namespace espalier::core {

// Movable. The mapping lives as long as the object.
class MappedPart {
 public:
  // Error(input) when `path` no longer is the file with this stamp, or when that file ends first.
  MappedPart(const std::string& path, const FileStamp& stamp, std::uint64_t offset,
             std::uint64_t bytes);
  ~MappedPart();
  MappedPart(MappedPart&& other) noexcept;
  MappedPart& operator=(MappedPart&& other) noexcept;
  MappedPart(const MappedPart&) = delete;
  MappedPart& operator=(const MappedPart&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  void* pages_ = nullptr;  // the mapping begins at the page that holds the first byte
  std::size_t size_ = 0;
  std::span<const std::byte> bytes_;
};

}  // namespace espalier::core
