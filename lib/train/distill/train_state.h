// SPDX-License-Identifier: Apache-2.0
// The state from which a killed run continues: <out>/checkpoint/step-<n>/ with state.json, and
// parameters and both moments as raw little-endian float32. A checkpoint appears whole, by rename,
// before older ones are removed. The sampler needs no state, because its windows are a pure
// function of the step.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "distill/parameters.h"

namespace espalier::distill {

struct TrainState {
  std::int64_t step = 0;            // number of completed optimizer steps
  std::uint64_t metrics_bytes = 0;  // length of metrics.jsonl at that step
  double loss_first = 0, loss_last = 0;
  int threads = 0;  // matrix products round differently with another number of threads
  std::string run;  // identity of the run: hash of options and inputs
};

void save_state(const std::string& out, const TrainState& state, Parameters& parameters);
// The state of the newest checkpoint, before its large files are read. Empty when there is no
// checkpoint.
std::optional<TrainState> find_state(const std::string& out);
void load_parameters(const std::string& out, const TrainState& state, Parameters& parameters);
void remove_states(const std::string& out);

}  // namespace espalier::distill
