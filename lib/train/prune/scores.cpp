// SPDX-License-Identifier: Apache-2.0
// Scores as a file, and selection by score.
#include "prune/scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "core/error.h"
#include "format/safetensors.h"

namespace espalier::prune {

using arch::Axis;

std::string scores_name(Axis axis, int layer) {
  const std::string name(arch::axis_name(axis));
  return layer < 0 ? name : name + "." + std::to_string(layer);
}

std::string layer_scores_name(std::int64_t drop) {
  return drop == 0 ? "layers" : "layers." + std::to_string(drop);
}

std::string block_scores_name(arch::BlockKind kind) {
  return kind == arch::BlockKind::attention ? "blocks.attention" : "blocks.ffn";
}

void require_finite(const std::string& name, const std::vector<double>& scores) {
  for (std::size_t i = 0; i < scores.size(); ++i)
    ESP_CHECK(std::isfinite(static_cast<float>(scores[i])), input, name, ": the score of index ", i,
              " is ", scores[i],
              ": activations of this text exceed the range of floating point, so that nothing can "
              "be ranked");
}

const std::vector<double>& Scores::at(const std::string& name) const {
  const auto found = all.find(name);
  if (found != all.end()) return found->second;
  std::string others;
  for (const auto& [known, scores] : all)
    if (const std::string kind = known.substr(0, known.find('.'));
        others.find(kind) == std::string::npos)
      others += (others.empty() ? "" : ", ") + kind;
  core::fail(core::ErrorKind::input, "there are no scores of ", name,
             others.empty() ? "" : " (there are some of " + others + ")");
}

const std::vector<double>& Scores::of_layers(std::int64_t drop) const {
  const auto found = all.find(layer_scores_name(drop));
  return found != all.end() ? found->second : at(layer_scores_name(0));
}

bool Scores::has(Axis axis) const {
  return std::any_of(all.begin(), all.end(), [&](const auto& entry) {
    return entry.first.substr(0, entry.first.find('.')) == arch::axis_name(axis);
  });
}

namespace {

// In the order of the file: of the model, then layer by layer.
std::vector<std::string> names_in_order(std::size_t layers) {
  std::vector<std::string> names{"layers", "hidden", "blocks.attention", "blocks.ffn"};
  for (std::size_t l = 1; l < layers; ++l)
    names.push_back(layer_scores_name(static_cast<std::int64_t>(l)));
  for (std::size_t l = 0; l < layers; ++l)
    for (const Axis axis : arch::kScoredAxes)
      names.push_back(scores_name(axis, static_cast<int>(l)));
  return names;
}

}  // namespace

void write_scores(const Scores& scores, const std::string& path) {
  const char* of_layers = scores.all.contains("blocks.ffn") ? "blocks.ffn" : "layers";
  std::vector<std::string> names = names_in_order(scores.at(of_layers).size());
  std::erase_if(names, [&](const std::string& name) { return !scores.all.contains(name); });
  for (const std::string& name : names) require_finite(name, scores.at(name));
  format::SafetensorsWriter writer(path);
  writer.set_metadata("criterion", scores.criterion);
  writer.set_metadata("tokens", std::to_string(scores.tokens));
  writer.set_metadata("source_sha256", scores.source_sha256);
  for (const std::string& name : names)
    writer.add_tensor(name, format::FormatId::f32,
                      {static_cast<std::int64_t>(scores.at(name).size())});
  writer.begin();
  for (const std::string& name : names) {
    const std::vector<float> values(scores.at(name).begin(), scores.at(name).end());
    writer.write(std::as_bytes(std::span(values)));
  }
  writer.finish();
}

namespace {

// What a file may hold of a model, and how many.
std::map<std::string, std::int64_t> sizes_of(const arch::ModelDims& dims) {
  std::map<std::string, std::int64_t> sizes{{"layers", dims.n_layers()},
                                            {"hidden", dims.hidden},
                                            {"blocks.attention", dims.n_layers()},
                                            {"blocks.ffn", dims.n_layers()}};
  for (std::int64_t n = 1; n < dims.n_layers(); ++n) sizes[layer_scores_name(n)] = dims.n_layers();
  for (std::size_t l = 0; l < dims.layers.size(); ++l)
    for (const Axis axis : arch::kScoredAxes)
      sizes[scores_name(axis, static_cast<int>(l))] = dims.layers[l][axis];
  return sizes;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string out;
  for (const std::int64_t n : shape) out += (out.empty() ? "" : ", ") + std::to_string(n);
  return "[" + out + "]";
}

std::vector<double> read_values(const format::SafetensorsSet& set, const format::SafeTensor& tensor,
                                std::int64_t size, const std::string& path) {
  ESP_CHECK(size > 0, input, path, ": '", tensor.name, "': the layer lacks this block");
  ESP_CHECK(tensor.shape == std::vector<std::int64_t>{size}, input, path, ": '", tensor.name,
            "' has the shape ", shape_text(tensor.shape), ", expected [", size,
            "], one score for each index of this model; were the scores computed for it?");
  ESP_CHECK(tensor.dtype == format::FormatId::f32, input, path, ": '", tensor.name, "' is ",
            tensor.stored, ", expected F32; convert it before saving");
  std::vector<float> values(static_cast<std::size_t>(size));
  set.read(tensor, 0, std::as_writable_bytes(std::span(values)));
  for (std::size_t i = 0; i < values.size(); ++i)
    ESP_CHECK(std::isfinite(values[i]), input, path, ": ", tensor.name, ": the score of index ", i,
              " is ", values[i], ", expected a finite number: nothing can be ranked by it");
  return {values.begin(), values.end()};
}

// What the metadata say; a wrong value is refused, and what is unknown is left alone.
void read_metadata(const std::map<std::string, std::string>& metadata, const std::string& path,
                   Scores& out) {
  const auto value = [&](const char* key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  out.criterion = value("criterion");
  out.source_sha256 = value("source_sha256");
  const std::string& hash = out.source_sha256;
  ESP_CHECK(hash.empty() || (hash.size() == 64 &&
                             hash.find_first_not_of("0123456789abcdef") == std::string::npos),
            input, path, ": metadata: source_sha256 '", hash,
            "' is no SHA-256 in 64 hexadecimal digits; leave it out where it is not known");
  const std::string tokens = value("tokens");
  ESP_CHECK(tokens.size() <= 18 && tokens.find_first_not_of("0123456789") == std::string::npos,
            input, path, ": metadata: tokens '", tokens, "' is no number");
  out.tokens = tokens.empty() ? 0 : std::stoll(tokens);
}

}  // namespace

Scores read_scores(const std::string& path, const arch::ModelDims& dims) {
  const auto set = format::SafetensorsSet::open_file(path, format::SafetensorsSet::Allowed::any);
  const std::map<std::string, std::int64_t> sizes = sizes_of(dims);
  Scores out;
  for (const format::SafeTensor& tensor : set.tensors()) {
    const auto known = sizes.find(tensor.name);
    ESP_CHECK(known != sizes.end(), input, path, ": '", tensor.name,
              "' names no axis that is scored, or no layer of this model: expected layers, hidden, "
              "blocks.attention, blocks.ffn, ffn.0 to ffn.",
              dims.n_layers() - 1, " or kv_groups.0 to kv_groups.", dims.n_layers() - 1);
    out.all[tensor.name] = read_values(set, tensor, known->second, path);
  }
  ESP_CHECK(!out.all.empty(), input, path, ": there are no scores in it");
  read_metadata(set.metadata(), path, out);
  return out;
}

std::vector<std::int64_t> highest_first(const std::vector<double>& scores) {
  require_finite("ranking", scores);
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  return order;
}

std::vector<std::int64_t> keep_highest(const std::vector<double>& scores, std::int64_t n) {
  std::vector<std::int64_t> order = highest_first(scores);
  order.resize(static_cast<std::size_t>(n));
  std::sort(order.begin(), order.end());
  return order;
}

KeptOfLayers keep_highest_per_layer(const Scores& scores, Axis axis,
                                    const std::vector<std::int64_t>& sizes) {
  KeptOfLayers out(sizes.size());
  for (std::size_t l = 0; l < sizes.size(); ++l) {
    const auto found = scores.all.find(scores_name(axis, static_cast<int>(l)));
    if (found == scores.all.end()) continue;
    const auto has = static_cast<std::int64_t>(found->second.size());
    out[l] = keep_highest(found->second, std::min(sizes[l], has));
  }
  return out;
}

}  // namespace espalier::prune
