// SPDX-License-Identifier: Apache-2.0
// The POSIX implementation of file.h. AtomicFile gathers small writes to 1 MiB, and large ones go
// to the system as they are. It has the system write to the disk meanwhile, so that little is left
// to sync at the end. It syncs the directory after a rename, so that a crash cannot lose the new
// file.
#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/error.h"
#include "core/parts.h"
#include "core/units.h"

namespace espalier::core {
namespace {

constexpr std::size_t kBufferBytes = 1 << 20;
constexpr std::uint64_t kBehindBytes = std::uint64_t{16} << 20;  // that go to the disk together

[[noreturn]] void fail_errno(const char* doing, const std::string& path) {
  const int code = errno;
  fail(ErrorKind::input, path, ": cannot ", doing, ": ", std::strerror(code));
}

FileStamp stamp_of(const struct stat& info) {
  constexpr std::int64_t kNanoseconds = 1'000'000'000;
  return {.bytes = static_cast<std::uint64_t>(info.st_size),
          .modified_ns = info.st_mtim.tv_sec * kNanoseconds + info.st_mtim.tv_nsec,
          .device = info.st_dev,
          .inode = info.st_ino};
}

int open_for_reading(const std::string& path, FileStamp& stamp) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_errno("open", path);
  struct stat info{};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    fail(ErrorKind::input, path, ": not a regular file");
  }
  stamp = stamp_of(info);
  return fd;
}

// Writes to the end of a file, which has `size` bytes.
void append(int fd, const std::string& path, std::span<const std::byte> bytes, std::uint64_t size) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno("write (the previous file is left as it was)", path);
    done += static_cast<std::size_t>(n);
  }
  const std::uint64_t from = size / kBehindBytes * kBehindBytes,
                      to = (size + bytes.size()) / kBehindBytes * kBehindBytes;
  if (from == to) return;
  // A hint: what it does not start, commit() syncs.
  static_cast<void>(::sync_file_range(fd, static_cast<off_t>(from), static_cast<off_t>(to - from),
                                      SYNC_FILE_RANGE_WRITE));
}

std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const int fd = open_for_reading(path, stamp_);
  size_ = static_cast<std::size_t>(stamp_.bytes);
  if (size_ > 0) {
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (address == MAP_FAILED) {
      const int code = errno;
      ::close(fd);
      errno = code;
      fail_errno("map", path);
    }
    data_ = static_cast<const std::byte*>(address);
  }
  ::close(fd);
}
MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}
MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      stamp_(other.stamp_),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}
MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(stamp_, other.stamp_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void drop_pages(std::span<const std::byte> mapped) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t begin =
      (reinterpret_cast<std::uintptr_t>(mapped.data()) + page - 1) / page * page;
  const std::uintptr_t end =
      (reinterpret_cast<std::uintptr_t>(mapped.data()) + mapped.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

FileReader::FileReader(const std::string& path) : path_(path) {
  fd_ = open_for_reading(path, stamp_);
}
FileReader::~FileReader() {
  if (fd_ >= 0) ::close(fd_);
}
FileReader::FileReader(FileReader&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), stamp_(other.stamp_) {}
FileReader& FileReader::operator=(FileReader&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(stamp_, other.stamp_);
  return *this;
}
void FileReader::read(std::uint64_t offset, std::span<std::byte> out) const {
  ESP_CHECK(offset <= size() && out.size() <= size() - offset, input, path_,
            ": truncated: ", out.size(), " bytes are needed at offset ", offset,
            ", but the file has ", size());
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno("read", path_);
    ESP_CHECK(n > 0, input, path_, ": truncated while reading at offset ", offset + done);
    done += static_cast<std::size_t>(n);
  }
}

AtomicFile::AtomicFile(const std::string& path)
    : path_(path), temporary_(beside(path, ".tmp-" + std::to_string(::getpid()))) {
  std::error_code ignored;
  const std::size_t name_bytes = std::filesystem::path(path).filename().string().size();
  ESP_CHECK(name_bytes <= NAME_MAX, input, path, ": the name has ", name_bytes,
            " bytes, but at most ", NAME_MAX, " are possible; choose a shorter one");
  // Renaming over a device or a pipe would put a file in its place.
  ESP_CHECK(
      !std::filesystem::exists(path, ignored) || std::filesystem::is_regular_file(path, ignored),
      input, path, ": is not a regular file; name a file to write");
  std::filesystem::create_directories(parent_of(path), ignored);
  fd_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail_errno("create", temporary_);
}
AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}
void AtomicFile::flush() {
  append(fd_, path_, std::as_bytes(std::span(buffer_.data(), buffer_.size())),
         written_ - buffer_.size());
  buffer_.clear();
}
void AtomicFile::write(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() < kBufferBytes) {
    buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  } else {
    flush();
    append(fd_, path_, bytes, written_);
  }
  written_ += bytes.size();
}
void AtomicFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text.data(), text.size())));
}
void AtomicFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  ESP_CHECK(offset + bytes.size() <= written_, internal, path_, ": write_at past the end");
  flush();
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno("write (the previous file is left as it was)", path_);
    done += static_cast<std::size_t>(n);
  }
}
void AtomicFile::commit() {
  flush();
  if (::fsync(fd_) != 0) fail_errno("sync (the previous file is left as it was)", path_);
  if (::close(std::exchange(fd_, -1)) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int code = errno;
    ::unlink(temporary_.c_str());
    errno = code;
    fail_errno("replace", path_);
  }
  const int directory = ::open(parent_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    ::fsync(directory);
    ::close(directory);
  }
}

std::string read_text_file(const std::string& path, std::uint64_t max_bytes) {
  FileReader reader(path);
  ESP_CHECK(reader.size() <= max_bytes, input, path, ": ", reader.size(), " bytes, but at most ",
            max_bytes, " are accepted here");
  std::string text(static_cast<std::size_t>(reader.size()), '\0');
  reader.read(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  return text;
}
void write_text_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}
FileStamp file_stamp(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) fail_errno("look at", path);
  return stamp_of(info);
}
bool written_since(const std::string& path, const FileStamp& stamp) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return false;
  const FileStamp now = stamp_of(info);
  return now.device == stamp.device && now.inode == stamp.inode && now != stamp;
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat x{}, y{};
  return ::stat(a.c_str(), &x) == 0 && ::stat(b.c_str(), &y) == 0 && x.st_dev == y.st_dev &&
         x.st_ino == y.st_ino;
}
std::uint64_t free_disk_bytes(const std::string& directory) {
  std::filesystem::path place = std::filesystem::absolute(directory);
  while (!std::filesystem::exists(place) && place.has_parent_path() && place != place.parent_path())
    place = place.parent_path();
  struct statvfs info{};
  if (::statvfs(place.c_str(), &info) != 0) fail_errno("ask for free space", place.string());
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}
void require_free_disk(const std::string& directory, std::uint64_t bytes) {
  const std::uint64_t free = free_disk_bytes(directory);
  ESP_CHECK(free >= bytes, input, directory, ": ", human_bytes(static_cast<std::int64_t>(bytes)),
            " are needed, but only ", human_bytes(static_cast<std::int64_t>(free)),
            " are free on this disk; free some space or choose another --out");
}

}  // namespace espalier::core
