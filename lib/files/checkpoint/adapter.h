// SPDX-License-Identifier: Apache-2.0
// A LoRA adapter (Hu et al. 2021, arXiv 2106.09685) in PEFT's layout, merged into its base:
//
//   W + scale B A,   scale = alpha / rank, or alpha / sqrt(rank) (Kalajdzievski 2023, 2312.03732)
//
// with A [rank, columns] and B [rows, rank] of W [rows, columns], computed in double and rounded
// once. Of an embedding W, stored A [rank, V] and B [H, rank], it is the transpose. Tensors that
// were trained whole (modules_to_save, biases) replace those of the base.
#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>

#include "checkpoint/checkpoint.h"

namespace espalier::checkpoint {

class Adapter {
 public:
  // Reads the config and the headers. The Error lists every tensor that does not fit the base.
  Adapter(const std::string& directory, const Checkpoint& base);
  ~Adapter();
  Adapter(Adapter&&) noexcept;
  Adapter& operator=(Adapter&&) noexcept;

  // Of the merged model: the base's, except that an output matrix of the adapter's own unties it.
  const arch::ModelDims& dims() const;
  // Whether the tensor is the adapter's alone, so that the base need not have it.
  bool replaces(arch::Role role, int layer) const;
  // Makes rows [row, row + n) of the merged tensor of those of the base, in place.
  void merge(arch::Role role, int layer, std::int64_t row, std::span<float> rows) const;

  const std::string& base() const;  // by its config: what it was trained on; may be empty
  int n_changed() const;            // tensors of the base that it changes

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::checkpoint
