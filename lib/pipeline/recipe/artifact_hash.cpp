// SPDX-License-Identifier: Apache-2.0
// Hashes of what stages leave: files, model directories, and logit caches.
#include <algorithm>
#include <filesystem>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "hash/sha256.h"
#include "recipe/runner.h"

namespace espalier::recipe {
namespace {

namespace fs = std::filesystem;

// Names and contents of all files, in the order of their names.
std::string folder_hash(const std::string& path) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) files.push_back(fs::relative(entry.path(), path).string());
  std::sort(files.begin(), files.end());
  hash::Sha256 sum;
  for (const std::string& file : files)
    sum.update(file + " " + hash::sha256_file(path + "/" + file) + "\n");
  return sum.hex();
}

}  // namespace

std::string artifact_hash(stages::Artifact artifact, const std::string& path) {
  if (artifact == stages::Artifact::model) return checkpoint::Checkpoint::open(path).sha256();
  if (artifact == stages::Artifact::logits) {
    // Its files, as the cache itself has hashed them when it wrote them.
    hash::Sha256 sum;
    for (const auto& [file, hash] : checkpoint::read_manifest(path).outputs)
      sum.update(file + " " + hash + "\n");
    return sum.hex();
  }
  return artifact == stages::Artifact::folder ? folder_hash(path) : hash::sha256_file(path);
}

}  // namespace espalier::recipe
