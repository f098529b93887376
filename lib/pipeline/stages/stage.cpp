// SPDX-License-Identifier: Apache-2.0
// The list of kinds, and what all stages share.
#include "stages/stage.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "arch/positions.h"
#include "core/error.h"
#include "core/file.h"
#include "core/parts.h"

namespace espalier::stages {

#ifdef ESPALIER_WITH_TRAINING
#define ESP_TRAINING_STAGE ESP_STAGE
#else
#define ESP_TRAINING_STAGE(kind)
#endif
#define ESP_STAGE(kind) extern const Kind k_##kind;
#include "stages/stages.inc"
#undef ESP_STAGE

namespace {
const Kind* const kKinds[] = {
#define ESP_STAGE(kind) &k_##kind,
#include "stages/stages.inc"
#undef ESP_STAGE
};
}  // namespace

std::span<const Kind* const> all_kinds() { return kKinds; }

const Kind* find_kind(std::string_view name) {
  for (const Kind* kind : kKinds)
    if (kind->name == name) return kind;
  return nullptr;
}

std::string_view artifact_name(Artifact artifact) {
  switch (artifact) {
    case Artifact::model:
      return "a model directory";
    case Artifact::gguf:
      return "a GGUF";
    case Artifact::prune_plan:
      return "a pruning plan";
    case Artifact::quant_plan:
      return "a quantization plan";
    case Artifact::imatrix:
      return "an importance matrix";
    case Artifact::scores:
      return "scores";
    case Artifact::logits:
      return "a logit cache";
    case Artifact::text:
      return "a text";
    case Artifact::folder:
      return "a folder";
    case Artifact::curve:
      return "a training curve";
    case Artifact::importance:
      return "importance by layer";
    case Artifact::card:
      return "a device card";
    case Artifact::page:
      return "a report";
    case Artifact::record:
      return "a record";
  }
  return "";
}

void require_device_program(const std::string& path) {
  ESP_CHECK(::access(path.c_str(), X_OK) == 0, input, path,
            ": cannot be run: ", std::strerror(errno), "; espalier-run must lie beside espalier");
}

void Stage::deliver(const std::string& result, const std::string& target) const {
  namespace fs = std::filesystem;
  if (core::same_file(result, target)) return;
  std::error_code error;
  const std::string temporary = core::beside(target, ".tmp");
  fs::remove(temporary, error);
  fs::create_hard_link(result, temporary, error);
  if (error) {
    fs::copy_file(result, temporary, fs::copy_options::overwrite_existing, error);
    ESP_CHECK(!error, input, target, ": cannot write: ", error.message());
  }
  fs::rename(temporary, target, error);
  ESP_CHECK(!error, input, target, ": cannot replace: ", error.message());
}

std::string Context::path(const std::string& key) const {
  const auto it = inputs.find(key);
  return it == inputs.end() || it->second.empty() ? "" : it->second.front().path;
}

void require_same_sizes(const Made& made, const Shape& model, const char* what,
                        const std::string& name) {
  if (!made.about) return;
  const Shape& about = *made.about;
  const auto sizes = [](const arch::ModelDims& dims) {
    std::vector<std::int64_t> out{dims.n_layers(), dims.hidden};
    for (const arch::LayerDims& layer : dims.layers)
      for (const arch::Axis axis : arch::kLayerAxes) out.push_back(layer[axis]);
    return out;
  };
  ESP_CHECK(about.arch == model.arch && sizes(about.dims) == sizes(model.dims), input, what,
            " of '", name, "' are of another model, whose sizes differ; make them from this one");
}

bool Forecast::has(const std::string& key) const {
  const auto it = inputs.find(key);
  return it != inputs.end() && !it->second.empty();
}

const ForecastInput& Forecast::at(const std::string& key) const {
  ESP_CHECK(has(key), internal, "no input '", key, "'");
  return inputs.at(key).front();
}

void Forecast::require_window(const std::string& key, std::int64_t length,
                              const std::vector<std::string>& models) const {
  for (const std::string& model : models) {
    const auto it = inputs.find(model);
    if (it == inputs.end()) continue;
    for (const ForecastInput& input : it->second)
      if (input.shape)
        arch::require_positions(input.shape->dims, length, key + ":", "'" + input.name + "'");
  }
}

}  // namespace espalier::stages
