// SPDX-License-Identifier: Apache-2.0
// A model of the training side, which may be larger than memory. Windows of text go through it one
// layer at a time, and rows of logits are then made as they are needed. Internal to
// lib/pipeline/verify.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "layerwise/walk.h"

namespace espalier::verify {

class WalkedModel {
 public:
  // keep_output: the output matrix stays in memory. Otherwise logits() reads it in blocks.
  // `vocabulary_of`: a model whose vocabulary is the same or a part of it; then that part is read.
  WalkedModel(const std::string& path, bool keep_output, const std::string& vocabulary_of = "");
  // The model below refers to the checkpoint.
  WalkedModel(const WalkedModel&) = delete;
  WalkedModel& operator=(const WalkedModel&) = delete;

  const arch::ModelDims& dims() const { return source_.dims(); }
  // Takes ids [windows, T] through all layers and keeps the final states, 4 * windows * T * H
  // bytes, in place of those of an earlier call. One window goes through a layer at a time, so that
  // its bits do not depend on the others.
  void read(const torch::Tensor& ids, layerwise::WalkOptions options);
  // The same, but the states are read from a file in `folder` where an earlier run of the same
  // model on the same ids has left them. Otherwise they are left there, if the disk holds them.
  void read_kept(const torch::Tensor& ids, layerwise::WalkOptions options,
                 const std::string& folder);
  // [n, V] of rows row .. row + n - 1 of a window. Error(input) unless all are finite.
  torch::Tensor logits(std::int64_t window, std::int64_t row, std::int64_t n) const;

 private:
  std::string path_;
  std::vector<std::int64_t> part_;  // ids of the vocabulary that are kept; empty: all
  checkpoint::Checkpoint source_;
  model::Transformer model_;
  torch::Tensor states_;  // [windows, T, H] after the final norm
};

}  // namespace espalier::verify
