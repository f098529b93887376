// SPDX-License-Identifier: Apache-2.0
// Whole pages around the part.
#include "core/mapped_part.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace espalier::core {

MappedPart::MappedPart(const std::string& path, const FileStamp& stamp, std::uint64_t offset,
                       std::uint64_t bytes) {
  ESP_CHECK(offset <= stamp.bytes && bytes <= stamp.bytes - offset, input, path,
            ": truncated: ", bytes, " bytes are needed at offset ", offset, ", but the file has ",
            stamp.bytes);
  if (bytes == 0) return;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ESP_CHECK(fd >= 0, input, path, ": cannot open: ", std::strerror(errno));
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t before = offset % page;
  size_ = static_cast<std::size_t>(before + bytes);
  void* pages =
      ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, static_cast<off_t>(offset - before));
  const int code = errno;
  ::close(fd);
  ESP_CHECK(pages != MAP_FAILED, input, path, ": cannot map: ", std::strerror(code));
  pages_ = pages;
  bytes_ = {static_cast<const std::byte*>(pages) + before, static_cast<std::size_t>(bytes)};
  if (file_stamp(path) == stamp) return;
  ::munmap(std::exchange(pages_, nullptr), size_);
  fail(ErrorKind::input, path, ": was replaced or written to while it was in use; try again");
}

MappedPart::~MappedPart() {
  if (pages_ != nullptr) ::munmap(pages_, size_);
}
MappedPart::MappedPart(MappedPart&& other) noexcept
    : pages_(std::exchange(other.pages_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      bytes_(std::exchange(other.bytes_, {})) {}
MappedPart& MappedPart::operator=(MappedPart&& other) noexcept {
  std::swap(pages_, other.pages_);
  std::swap(size_, other.size_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace espalier::core
