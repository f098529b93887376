// SPDX-License-Identifier: Apache-2.0
// The mixes of llama-quantize that are made of K formats: which format it gives each tensor of a
// model, by its rules for few layers, 80 layers, shared heads, 8 experts, and rows that are no
// whole blocks.
//
// It counts tensors, not layers, so a layer without attention has no attn_v. It knows a tied output
// matrix as the embedding. Every mix gives an importance matrix the same formats as none.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/arch.h"
#include "plan/quant_plan.h"

namespace espalier::plan {

std::vector<std::string_view> k_mixes();  // lower case
bool is_k_mix(std::string_view name);
// general.file_type of its files. Empty: no such mix.
std::optional<std::uint32_t> k_mix_file_type(std::string_view name);

// What the rules of a mix say, and what is stored: the same unless rows are no whole blocks.
struct MixFormat {
  format::FormatId rule, stored;
};
// Of each of `tensors`, which are those of the model in the order of the file. Vectors are f32.
std::vector<MixFormat> k_mix_formats(std::string_view name, const arch::Arch& arch,
                                     const arch::ModelDims& dims,
                                     const std::vector<arch::TensorRef>& tensors);
// One line about the matrices of a plan that are stored otherwise than the rules of its mix say.
// Empty: there are none.
std::string stored_otherwise(const QuantPlan& plan, const arch::Arch& arch,
                             const arch::ModelDims& dims);

}  // namespace espalier::plan
