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

void require_finite(const std::string& name, const std::vector<double>& scores) {
  for (std::size_t i = 0; i < scores.size(); ++i)
    ESP_CHECK(std::isfinite(static_cast<float>(scores[i])), input, name, ": the score of index ", i,
              " is ", scores[i],
              ": activations of this text exceed the range of floating point, so that nothing can "
              "be ranked");
}

const std::vector<double>& Scores::at(const std::string& name) const {
  const auto found = all.find(name);
  ESP_CHECK(found != all.end(), input, "there are no scores of ", name);
  return found->second;
}

bool Scores::has(Axis axis) const {
  return std::any_of(all.begin(), all.end(), [&](const auto& entry) {
    return entry.first.substr(0, entry.first.find('.')) == arch::axis_name(axis);
  });
}

namespace {

// In the order of the file: of the model, then layer by layer.
std::vector<std::string> names_in_order(std::size_t layers) {
  std::vector<std::string> names{"layers", "hidden"};
  for (std::size_t l = 0; l < layers; ++l)
    for (const Axis axis : arch::kScoredAxes)
      names.push_back(scores_name(axis, static_cast<int>(l)));
  return names;
}

}  // namespace

void write_scores(const Scores& scores, const std::string& path) {
  std::vector<std::string> names = names_in_order(scores.at("layers").size());
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

Scores read_scores(const std::string& path, const arch::ModelDims& dims) {
  const auto set = format::SafetensorsSet::open_file(path);
  std::map<std::string, std::int64_t> sizes{{"layers", dims.n_layers()}, {"hidden", dims.hidden}};
  for (std::size_t l = 0; l < dims.layers.size(); ++l)
    for (const Axis axis : arch::kScoredAxes)
      sizes[scores_name(axis, static_cast<int>(l))] = dims.layers[l][axis];
  Scores out;
  for (const format::SafeTensor& tensor : set.tensors()) {
    const auto known = sizes.find(tensor.name);
    ESP_CHECK(known != sizes.end(), input, path, ": '", tensor.name,
              "' names no axis that is scored, or no layer of this model");
    ESP_CHECK(tensor.dtype == format::FormatId::f32 &&
                  tensor.shape == std::vector<std::int64_t>{known->second},
              input, path, ": '", tensor.name, "' is not ", known->second,
              " F32 values, one for each index of this model; were the scores computed for it?");
    std::vector<float> values(static_cast<std::size_t>(known->second));
    set.read(tensor, 0, std::as_writable_bytes(std::span(values)));
    std::vector<double>& scores = out.all[tensor.name];
    scores.assign(values.begin(), values.end());
    require_finite(path + ": " + tensor.name, scores);
  }
  const auto metadata = [&](const char* key) {
    const auto found = set.metadata().find(key);
    return found == set.metadata().end() ? std::string() : found->second;
  };
  out.criterion = metadata("criterion");
  out.source_sha256 = metadata("source_sha256");
  return out;
}

std::vector<std::int64_t> keep_highest(const std::vector<double>& scores, std::int64_t n) {
  require_finite("ranking", scores);
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
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

KeptOfLayers keep_highest_across_layers(const Scores& scores, Axis axis, std::size_t layers,
                                        std::int64_t total) {
  KeptOfLayers out =
      keep_highest_per_layer(scores, axis, std::vector<std::int64_t>(layers, std::int64_t{1}));
  struct Place {
    std::size_t layer;
    std::int64_t index;
  };
  std::vector<Place> places;
  std::vector<double> values;
  for (std::size_t l = 0; l < out.size(); ++l) {
    if (out[l].empty()) continue;
    --total;
    const std::vector<double>& of_layer = scores.at(scores_name(axis, static_cast<int>(l)));
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(of_layer.size()); ++i) {
      if (i == out[l].front()) continue;
      places.push_back({l, i});
      values.push_back(of_layer[static_cast<std::size_t>(i)]);
    }
  }
  ESP_CHECK(total >= 0 && total <= static_cast<std::int64_t>(places.size()), usage,
            arch::axis_name(axis), ": at least one index of each layer stays, and at most all");
  for (const std::int64_t i : keep_highest(values, total)) {
    const Place& place = places[static_cast<std::size_t>(i)];
    out[place.layer].push_back(place.index);
  }
  for (std::vector<std::int64_t>& kept : out) std::sort(kept.begin(), kept.end());
  return out;
}

}  // namespace espalier::prune
