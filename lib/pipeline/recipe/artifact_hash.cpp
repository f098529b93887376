// SPDX-License-Identifier: Apache-2.0
// Hashes of what stages leave: files, model directories, and logit caches.
#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "hash/folder.h"
#include "hash/sha256.h"
#include "recipe/runner.h"

namespace espalier::recipe {
std::string artifact_hash(stages::Artifact artifact, const std::string& path) {
  if (artifact == stages::Artifact::model) return checkpoint::Checkpoint::open(path).sha256();
  if (artifact == stages::Artifact::logits) {
    // Its files, as the cache itself has hashed them when it wrote them.
    hash::Sha256 sum;
    for (const auto& [file, hash] : checkpoint::read_manifest(path).outputs)
      sum.update(file + " " + hash + "\n");
    return sum.hex();
  }
  return artifact == stages::Artifact::folder ? hash::sha256_folder(path) : hash::sha256_file(path);
}

}  // namespace espalier::recipe
