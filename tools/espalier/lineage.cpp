// SPDX-License-Identifier: Apache-2.0
// Finds the stage that made a model beside the model.
#include "lineage.h"

#include <filesystem>
#include <optional>
#include <utility>

#include "checkpoint/manifest.h"
#include "hash/sha256.h"

namespace espalier::tool {

namespace {

namespace fs = std::filesystem;

std::string folder_of(const std::string& path) {
  std::error_code unreadable;
  return fs::weakly_canonical(path, unreadable).parent_path().string();
}

// The stage of a recipe in whose folder the file lies as its result, and the hash in its manifest.
std::optional<std::pair<std::string, std::string>> made_by_stage(const std::string& path) {
  std::error_code unreadable;
  const fs::path file = fs::weakly_canonical(path, unreadable);
  const std::string folder = file.parent_path().string();
  if (unreadable || folder.empty() || !checkpoint::has_manifest(folder)) return std::nullopt;
  const checkpoint::Manifest made = checkpoint::read_manifest(folder);
  const auto hash = made.outputs.find("output");
  if (hash == made.outputs.end()) return std::nullopt;
  return std::pair(file.parent_path().filename().string(), hash->second);
}

}  // namespace

std::map<std::string, std::string> lineage_of(const stages::Stage& stage,
                                              const stages::Context& context) {
  std::map<std::string, std::string> out;
  if (stage.outputs().front().artifact != stages::Artifact::gguf ||
      !made_by_stage(context.path("from")))
    return out;
  for (const auto& [key, sources] : context.inputs)
    for (const stages::Source& source : sources) {
      if (const auto made = made_by_stage(source.path)) {
        out.insert(*made);
        // A recipe names its text whether this stage reads it or not: its models come from it.
        const auto& inputs = checkpoint::read_manifest(folder_of(source.path)).inputs;
        if (const auto text = inputs.find("text.train"); text != inputs.end()) out.insert(*text);
      } else
        out[key == "text" ? "text.train" : key + " file"] = hash::sha256_file(source.path);
    }
  return out;
}

}  // namespace espalier::tool
