// SPDX-License-Identifier: Apache-2.0
// What the pruning pass has done so far, on disk, so that a run that was killed goes on behind the
// last layer it kept:
//
//   layer-<k>.safetensors   what was decided of the k-th kept layer: refitted weights "<role>.<source layer>", selections in the metadata
//   streams.safetensors     both residual streams behind it, "dense.<batch>" and "pruned.<batch>", written last: its metadata count the layers
//
// Each file is whole by rename; without streams.safetensors there is nothing to go on from. Writing
// the streams (8 * tokens * H bytes) takes at most a twentieth of the time: layers wait in memory
// until then.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "prune/sequential.h"

namespace espalier::prune {

class PassState {
 public:
  // `run`: what the result depends on, in one word. `share`: of the time, for writing; 1: after
  // every layer.
  PassState(std::string folder, std::string run, std::vector<std::int64_t> keep_layers,
            double share = 0.05);

  struct Position {
    std::size_t layers = 0;  // kept layers that are done
    int dense_at = 0;        // layers the dense stream has gone through
    bool drifted = false;    // the pruned stream differs from the dense one
  };
  // Nothing when there is no state. Error(input) when it is of another run or broken.
  std::optional<Position> load(std::vector<torch::Tensor>& dense,
                               std::vector<torch::Tensor>& pruned, SequentialResult& so_far);
  // After each layer. What the disk has no room for is not kept: trouble() says so, the run goes
  // on.
  void layer_done(const Position& position, const std::vector<torch::Tensor>& dense,
                  const std::vector<torch::Tensor>& pruned, const SequentialResult& so_far);
  const std::string& trouble() const { return trouble_; }
  static void remove(const std::string& folder);

 private:
  void save(const Position& position, const std::vector<torch::Tensor>& dense,
            const std::vector<torch::Tensor>& pruned, const SequentialResult& so_far);
  std::string layer_file(std::size_t k) const;
  std::string streams_file() const;

  std::string folder_, run_, trouble_;
  std::vector<std::int64_t> keep_layers_;
  double share_;
  std::size_t kept_ = 0;  // layers on disk
  double last_save_, seconds_to_save_ = 0;
};

}  // namespace espalier::prune
