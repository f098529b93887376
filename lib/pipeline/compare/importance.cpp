// SPDX-License-Identifier: Apache-2.0
// Tables from scores, whose names prune/scores.h describes.
#include "compare/importance.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>

#include "core/rank_correlation.h"

namespace espalier::compare {
namespace {

using Json = nlohmann::ordered_json;
using Values = std::vector<double>;

// By axis and layer. What belongs to no layer is layer 0 of its own name.
using ByLayer = std::map<std::string, std::map<int, const Values*>>;

ByLayer by_layer(const prune::Scores& scores) {
  ByLayer out;
  for (const auto& [name, values] : scores.all) {
    const auto dot = name.rfind('.');
    const bool has_layer = dot != std::string::npos && dot + 1 < name.size() &&
                           std::all_of(name.begin() + static_cast<std::ptrdiff_t>(dot) + 1,
                                       name.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (has_layer)
      out[name.substr(0, dot)][std::stoi(name.substr(dot + 1))] = &values;
    else
      out[name][0] = &values;
  }
  return out;
}

std::vector<std::string> axes_of(const std::vector<ByLayer>& all) {
  std::vector<std::string> out;
  for (const ByLayer& one : all)
    for (const auto& [axis, layers] : one)
      if (std::find(out.begin(), out.end(), axis) == out.end()) out.push_back(axis);
  return out;
}

// The scores of layers themselves are one list.
std::map<int, double> means_of(const std::string& axis,
                               const std::map<int, const Values*>& layers) {
  std::map<int, double> out;
  if (axis == "layers") {
    const Values& values = *layers.begin()->second;
    for (std::size_t l = 0; l < values.size(); ++l) out[static_cast<int>(l)] = values[l];
    return out;
  }
  for (const auto& [layer, values] : layers)
    if (!values->empty())
      out[layer] = std::accumulate(values->begin(), values->end(), 0.0) /
                   static_cast<double>(values->size());
  return out;
}

// The heat map of one axis; null for one that belongs to no layer.
Json heat_of(const std::string& axis, const std::vector<NamedScores>& all,
             const std::vector<ByLayer>& split) {
  Json names = Json::array();
  std::vector<std::map<int, double>> columns;
  int layers = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto it = split[i].find(axis);
    if (it == split[i].end()) continue;
    columns.push_back(means_of(axis, it->second));
    names.push_back(all[i].name);
    for (const auto& [layer, mean] : columns.back()) layers = std::max(layers, layer + 1);
  }
  if (layers < 2) return nullptr;
  Json rows = Json::array();
  for (int layer = 0; layer < layers; ++layer) {
    Json row = Json::array();
    for (const auto& column : columns) {
      double most = 0;
      for (const auto& [of, mean] : column) most = std::max(most, mean);
      const auto it = column.find(layer);
      row.push_back(it == column.end() || !(most > 0) ? Json(nullptr)
                                                      : Json(std::max(0.0, it->second / most)));
    }
    rows.push_back(std::move(row));
  }
  return {{"axis", axis}, {"names", names}, {"layers", rows}};
}

std::optional<double> agreement(const std::map<int, const Values*>& a,
                                const std::map<int, const Values*>& b) {
  double sum = 0;
  int n = 0;
  for (const auto& [layer, values] : a) {
    const auto it = b.find(layer);
    if (it == b.end() || it->second->size() != values->size() || values->size() < 3) continue;
    const double rho = core::spearman(*values, *it->second);
    if (!std::isfinite(rho)) continue;
    sum += rho;
    ++n;
  }
  if (n == 0) return std::nullopt;
  return sum / n;
}

}  // namespace

Json importance_of(const std::vector<NamedScores>& all) {
  std::vector<ByLayer> split;
  for (const NamedScores& one : all) split.push_back(by_layer(one.scores));
  Json out = Json::array();
  for (const std::string& axis : axes_of(split))
    if (Json heat = heat_of(axis, all, split); !heat.is_null()) out.push_back(std::move(heat));
  return out;
}

Json correlation_of(const std::vector<NamedScores>& all) {
  std::vector<ByLayer> split;
  for (const NamedScores& one : all) split.push_back(by_layer(one.scores));
  Json out = Json::array();
  for (const std::string& axis : axes_of(split)) {
    std::vector<std::size_t> have;
    Json names = Json::array(), values = Json::array();
    for (std::size_t i = 0; i < all.size(); ++i)
      if (split[i].contains(axis)) {
        have.push_back(i);
        names.push_back(all[i].name);
      }
    if (have.size() < 2) continue;
    for (const std::size_t i : have) {
      Json row = Json::array();
      for (const std::size_t j : have) {
        const auto rho = agreement(split[i].at(axis), split[j].at(axis));
        row.push_back(rho ? Json(*rho) : Json(nullptr));
      }
      values.push_back(std::move(row));
    }
    out.push_back({{"axis", axis}, {"names", names}, {"values", values}});
  }
  return out;
}

}  // namespace espalier::compare
