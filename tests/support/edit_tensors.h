// SPDX-License-Identifier: Apache-2.0
// Damage and additions: the tensors of a Hugging Face directory, changed and written again.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "format/quant_format.h"

namespace espalier::support {

struct RawTensor {
  format::FormatId dtype = format::FormatId::f32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;

  void set(std::int64_t index, float value);  // in the tensor's dtype
  RawTensor as(format::FormatId other) const;
};
using RawTensors = std::map<std::string, RawTensor>;

// max_shard_bytes 0: one file.
void edit_tensors(const std::string& directory, const std::function<void(RawTensors&)>& edit,
                  std::uint64_t max_shard_bytes = 0);
// One value of one tensor. Returns `directory`.
std::string set_value(const std::string& directory, const std::string& tensor, std::int64_t index,
                      float value);

}  // namespace espalier::support
