// SPDX-License-Identifier: Apache-2.0
// Files: read-only mappings (device runtime), bounded reads at an offset (file tower), and atomic
// replacement on writing. Every failure is an Error that names the path and the operating system's
// reason.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace espalier::core {

// Size, modification time and identity: they tell whether a file changed, without reading it.
struct FileStamp {
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;  // since 1970
  std::uint64_t device = 0, inode = 0;
  bool operator==(const FileStamp&) const = default;
};
FileStamp file_stamp(const std::string& path);
// True when the very file that had this stamp has been written to since. Another file in its place
// is no change: what was opened before stays as it was.
bool written_since(const std::string& path, const FileStamp& stamp);

// A whole file, mapped read-only. Movable. The mapping lives as long as the object. Several threads
// may read it at once.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const FileStamp& stamp() const { return stamp_; }  // when it was mapped

 private:
  std::string path_;
  FileStamp stamp_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Returns the pages that lie wholly inside `mapped`, a part of a read-only mapping, to the system.
// The next access reads them from the file again.
void drop_pages(std::span<const std::byte> mapped);

// Reads at an offset with pread. It never maps the file, so a limit on address space is kept.
// Thread-safe.
class FileReader {
 public:
  explicit FileReader(const std::string& path);
  ~FileReader();
  FileReader(FileReader&& other) noexcept;
  FileReader& operator=(FileReader&& other) noexcept;
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return stamp_.bytes; }
  const FileStamp& stamp() const { return stamp_; }  // when it was opened
  // Fills `out` from byte `offset` on. Error(input) when the file ends first.
  void read(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  std::string path_;
  int fd_ = -1;
  FileStamp stamp_;
};

// Writes to "<path>.tmp-<pid>" in the same directory (core/parts.h shortens long names). commit()
// syncs that file and renames it to `path`. Without commit() the previous file stays untouched and
// the temporary file is removed.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::string& path() const { return path_; }
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  std::uint64_t written() const { return written_; }
  // Overwrites bytes already written, for headers whose content is known last.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  void commit();

 private:
  void flush();
  std::string path_, temporary_;
  int fd_ = -1;
  std::uint64_t written_ = 0;
  std::string buffer_;
};

std::string read_text_file(const std::string& path,
                           std::uint64_t max_bytes = std::uint64_t{1} << 32);
// Replaces the file atomically.
void write_text_file(const std::string& path, std::string_view text);
// True when both paths name the same file, by device and inode. False when either is absent.
bool same_file(const std::string& a, const std::string& b);
std::uint64_t free_disk_bytes(const std::string& directory);
// Error(input) naming the path and the need when the file system of `directory` has less than
// `bytes` free.
void require_free_disk(const std::string& directory, std::uint64_t bytes);

}  // namespace espalier::core
