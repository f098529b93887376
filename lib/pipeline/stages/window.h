// SPDX-License-Identifier: Apache-2.0
// The window in which models are measured or trained: as long as asked, or else no longer than the
// context of the shortest model.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/notes.h"
#include "stages/stage.h"

namespace espalier::stages {

// Of models on disk. Empty paths are absent ones. `name`: of the option.
inline std::int64_t window_within(const Stage& stage, const std::string& name, std::int64_t length,
                                  const std::vector<std::string>& models) {
  if (stage.given_names.contains(name)) return length;
  std::int64_t out = length;
  for (const std::string& path : models) {
    if (path.empty()) continue;
    const std::int64_t positions = checkpoint::Checkpoint::open(path, false).dims().positions;
    if (positions >= out) continue;
    out = positions;
    core::note(path + ": has " + std::to_string(positions) +
               " positions, so texts are read in windows of as many tokens");
  }
  return out;
}

// The same from headers.
inline std::int64_t window_within(const Stage& stage, const std::string& name, std::int64_t length,
                                  const Forecast& forecast, const std::vector<std::string>& keys) {
  if (stage.given_names.contains(name)) {
    forecast.require_window(name, length, keys);
    return length;
  }
  for (const std::string& key : keys)
    if (forecast.has(key))
      for (const ForecastInput& input : forecast.inputs.at(key))
        if (input.shape) length = std::min(length, input.shape->dims.positions);
  return length;
}

}  // namespace espalier::stages
