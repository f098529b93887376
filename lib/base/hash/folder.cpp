// SPDX-License-Identifier: Apache-2.0
// Hashes the line "NAME HASH" of every file.
#include "hash/folder.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "hash/sha256.h"

namespace espalier::hash {

std::string sha256_folder(const std::string& path) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) files.push_back(fs::relative(entry.path(), path).string());
  std::sort(files.begin(), files.end());
  Sha256 sum;
  for (const std::string& file : files)
    sum.update(file + " " + sha256_file(path + "/" + file) + "\n");
  return sum.hex();
}

}  // namespace espalier::hash
