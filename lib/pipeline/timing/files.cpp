// SPDX-License-Identifier: Apache-2.0
// Writes a file without a name, which is gone even when the program is killed, and hashes memory.
// Files that were just written are read from memory, so reading takes no time of its own.
#include "timing/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>

#include "hash/sha256.h"
#include "timing/sample.h"

namespace espalier::timing {
namespace {

constexpr std::int64_t kFew = std::int64_t{1} << 20, kMany = std::int64_t{32} << 20;

class NamelessFile {
 public:
  explicit NamelessFile(const std::string& folder)
      : fd_(::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600)) {}
  ~NamelessFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  NamelessFile(const NamelessFile&) = delete;
  NamelessFile& operator=(const NamelessFile&) = delete;
  bool open() const { return fd_ >= 0; }
  // From its beginning. False when the disk does not take it.
  bool write(const std::string& content) const {
    return ::pwrite(fd_, content.data(), content.size(), 0) ==
               static_cast<ssize_t>(content.size()) &&
           ::fsync(fd_) == 0;
  }

 private:
  const int fd_;
};

// The folder that is to be made lies in one that there is.
std::string folder_above(const std::string& directory) {
  std::error_code missing;
  std::filesystem::path folder = std::filesystem::absolute(directory, missing);
  while (!std::filesystem::is_directory(folder, missing) && folder.has_relative_path())
    folder = folder.parent_path();
  return folder.string();
}

}  // namespace

Item hash(std::int64_t bytes) {
  return {"hashing", "hashing", static_cast<double>(bytes), 1e9, [](double seconds) {
            return speed(seconds, kFew, kMany, [](std::int64_t n) {
              return [text = std::string(static_cast<std::size_t>(n), 'x')] {
                static_cast<void>(hash::sha256(text));
              };
            });
          }};
}

Item write(std::int64_t bytes, const Place& place) {
  const std::string folder = folder_above(place.directory);
  Item out{"writing", "writing to " + folder, static_cast<double>(bytes), 500e6, {}};
  const auto file = std::make_shared<const NamelessFile>(folder);
  if (!file->open() || !file->write("x")) return out;
  out.measure = [file, usual = out.usual](double seconds) {
    bool written = true;
    const double per_second = speed(seconds, kFew, kMany, [&](std::int64_t n) {
      return [&, content = std::string(static_cast<std::size_t>(n), 'x')] {
        written = file->write(content) && written;
      };
    });
    return written ? per_second : usual;
  };
  return out;
}

}  // namespace espalier::timing
