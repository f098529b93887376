// SPDX-License-Identifier: Apache-2.0
// What is kept of a walk in its working folder, so that a killed run goes on with the same bits.
#pragma once
#include <torch/types.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "checkpoint/work_folder.h"

namespace espalier::layerwise {

struct Saved {
  nlohmann::json about = nlohmann::json::object();  // small values
  std::map<std::string, torch::Tensor> tensors;     // float32, float64, int64 or uint8
};

// A safetensors file, whole by rename. Its tensors are words of four bytes; the metadata say what
// they stand for.
void write_saved(const std::string& path, const Saved& saved);
Saved read_saved(const std::string& path);  // Error(input) when broken

// The identity of a run: a hash of its options and of the text [windows, T] that it reads.
std::string identity_of(const nlohmann::json& options, const torch::Tensor& ids);
// Begins and sets LibTorch's number of threads, because matrix products round differently with
// another.
void begin(checkpoint::WorkFolder& work);

}  // namespace espalier::layerwise
