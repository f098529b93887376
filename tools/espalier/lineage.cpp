// SPDX-License-Identifier: Apache-2.0
// Finds the stage that made a model beside the model.
#include "lineage.h"

#include <filesystem>
#include <optional>

#include "checkpoint/manifest.h"
#include "hash/sha256.h"
#include "stages/weight.h"
#ifdef ESPALIER_WITH_TRAINING
#include "data/corpus.h"
#endif

namespace espalier::tool {

namespace {

namespace fs = std::filesystem;

// Only the training side reads texts.
std::string text_sha256(const std::string& path) {
#ifdef ESPALIER_WITH_TRAINING
  return data::text_sha256(path);
#else
  return hash::sha256_file(path);
#endif
}

// A stage of a recipe.
struct Made {
  std::string stage;
  checkpoint::Manifest manifest;

  const std::string& hash() const { return manifest.outputs.at("output"); }
};

// The stage in whose folder the file lies as its result.
std::optional<Made> made_by_stage(const std::string& path) {
  std::error_code unreadable;
  const fs::path file = fs::weakly_canonical(path, unreadable);
  const std::string folder = file.parent_path().string();
  if (unreadable || folder.empty() || !checkpoint::has_manifest(folder)) return std::nullopt;
  Made made{file.parent_path().filename().string(), checkpoint::read_manifest(folder)};
  if (!made.manifest.outputs.contains("output")) return std::nullopt;
  return made;
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
        out.emplace(made->stage, made->hash());
        // A recipe names its text whether this stage reads it or not: its models come from it.
        const auto& inputs = made->manifest.inputs;
        if (const auto text = inputs.find("text.train"); text != inputs.end()) out.insert(*text);
      } else if (key == "text" && source.path == stages::kSelf) {
        continue;  // the model's own text has no file
      } else if (key == "text") {
        const auto place = &source - sources.data();
        out["text.train" + (place == 0 ? "" : " " + std::to_string(place + 1))] =
            text_sha256(source.path);
      } else {
        out[key + " file"] = hash::sha256_parts(source.path);
      }
    }
  return out;
}

}  // namespace espalier::tool
