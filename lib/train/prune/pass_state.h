// SPDX-License-Identifier: Apache-2.0
// The state of the pruning pass on disk, so that a killed run continues after the last layer that
// it saved.
//
//   layer-<k>.safetensors   the result of the k-th kept layer: refitted weights
//                           "<role>.<source layer>", with selections in the metadata
//   streams.safetensors     both residual streams after that layer, "exact" and "edited"; written
//                           last, its metadata count the layers
//
// Each file appears whole, by rename. Without streams.safetensors there is no state. Writing the
// streams (8 * tokens * H bytes) takes at most a twentieth of the time. Until then, finished layers
// wait in memory.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "layerwise/follow.h"
#include "layerwise/walk.h"

namespace espalier::prune {

class PassState {
 public:
  // `run` identifies everything that the result depends on. `share` is the share of the time for
  // writing. 1: write after every layer.
  PassState(std::string folder, std::string run, std::vector<std::int64_t> keep_layers,
            double share = 0.05);

  // Takes the walk and its edited stream to the saved position, if there is one. Error(input) when
  // the state is broken or belongs to another run.
  void load(layerwise::Walk& walk, layerwise::Follow& follow);
  // Call it after each layer. When the disk lacks room nothing is saved: save_error() says so, and
  // the run goes on.
  void layer_done(layerwise::Walk& walk, layerwise::Follow& follow);
  const std::string& save_error() const { return save_error_; }
  static void remove(const std::string& folder);

 private:
  void save(layerwise::Walk& walk, layerwise::Follow& follow);
  std::string name_of(arch::Role role, std::size_t k) const;  // "ffn_down.7"
  std::string layer_file(std::size_t k) const;
  std::string streams_file() const;

  std::string folder_, run_, save_error_;
  std::vector<std::int64_t> keep_layers_;
  double share_;
  std::size_t kept_ = 0;  // number of layers on disk
  double last_save_, seconds_to_save_ = 0;
};

}  // namespace espalier::prune
