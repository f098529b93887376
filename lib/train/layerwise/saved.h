// SPDX-License-Identifier: Apache-2.0
// What is kept of a walk in its working folder, so that a killed run goes on with the same bits.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/work_folder.h"

namespace espalier::layerwise {

struct Saved {
  nlohmann::json about = nlohmann::json::object();  // small values
  std::map<std::string, torch::Tensor> tensors;     // float32, float64, int64 or uint8
};

// The values of a tensor as a vector, and a vector as a tensor that shares its values.
template <class T>
std::vector<T> vector_of(const torch::Tensor& t) {
  const torch::Tensor values = t.contiguous();
  return {values.const_data_ptr<T>(), values.const_data_ptr<T>() + values.numel()};
}
template <class T>
torch::Tensor view_of(const std::vector<T>& values) {
  return torch::from_blob(const_cast<T*>(values.data()), static_cast<std::int64_t>(values.size()),
                          torch::CppTypeToScalarType<T>::value);
}

// A safetensors file, whole by rename. Its tensors are words of four bytes; the metadata say what
// they stand for.
void write_saved(const std::string& path, const Saved& saved);
// Tensors that `out` has already are filled in place. Throws when the file is broken.
Saved read_saved(const std::string& path, Saved out = {});

// The identity of a run: a hash of its options and of the text [windows, T] that it reads.
std::string identity_of(const nlohmann::json& options, const torch::Tensor& ids);
// Begins and sets LibTorch's number of threads, because matrix products round differently with
// another.
void begin(checkpoint::WorkFolder& work);

}  // namespace espalier::layerwise
