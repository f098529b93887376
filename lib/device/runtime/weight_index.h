// SPDX-License-Identifier: Apache-2.0
// Where the tensors of a model lie. Names and shapes of all are checked against the architecture,
// and all problems are reported at once. Internal to lib/device/runtime.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "arch/gguf_dims.h"
#include "core/file.h"
#include "format/gguf.h"
#include "runtime/packed_file.h"

namespace espalier::runtime {

// What loading needs from the header. The strings of the tokenizer, several times larger, are freed
// before the weights are loaded.
struct WeightIndex {
  std::vector<core::FileReader> files;
  ModelParts parts;
  arch::GgufModel model;
  std::map<std::string, format::GgufTensor> tensors;

  // Null where the model lacks it.
  const format::GgufTensor* find(arch::Role role, int layer) const {
    const auto found = tensors.find(arch::gguf_name(role, layer));
    return found != tensors.end() ? &found->second : nullptr;
  }
  std::int64_t bytes_of_layers() const;
};
WeightIndex read_index(const std::string& path);

}  // namespace espalier::runtime
