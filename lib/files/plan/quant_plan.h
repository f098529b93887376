// SPDX-License-Identifier: Apache-2.0
// The format of each tensor in a GGUF, by (Role, layer), never by string match. Planning refuses
// what a format cannot hold. It knows every byte of the file in advance.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "arch/arch.h"
#include "format/quant_format.h"

namespace espalier::plan {

struct TensorFormat {
  arch::Role role;
  int layer;  // -1: model scope
  format::FormatId format;
};

struct QuantPlan {
  std::string name;                   // "q4_k_m", "q4_0", "mix", ...
  std::vector<TensorFormat> tensors;  // in the order of arch::tensors(); vectors are f32
  format::FormatId format_of(arch::Role role, int layer) const;
};

// Makes a plan from a named mix. Mixes are the K mixes of llama-quantize (quant_mix.h), which fit
// every model, and every other format name: all matrices in that format, vectors f32.
//
// A format that does not fit is refused (Error unsupported). The error lists each tensor, its row
// length and the nearest legal length. `overrides`: role name (or "role.layer") -> format, applied
// on top, e.g. {"token_embd": q8_0}. They must fit.
QuantPlan quant_plan(const arch::Arch& arch, const arch::ModelDims& dims, std::string_view mix,
                     const std::map<std::string, format::FormatId>& overrides = {});
std::vector<std::string> mix_names();
// Whether a matrix stays F32 beside block formats.
bool stays_f32(arch::Role role);
// Refuses what quant_plan() and a budget would otherwise pass by: Error(usage) with the nearest
// name for an override that no tensor of the model has, Error(unsupported) for one that gives a
// vector another format than f32.
void check_overrides(const arch::Arch& arch, const arch::ModelDims& dims,
                     const std::map<std::string, format::FormatId>& overrides);

std::int64_t tensor_bytes(const arch::TensorRef& tensor, format::FormatId format);
// Without alignment padding.
std::int64_t tensor_data_bytes(const arch::Arch& arch, const arch::ModelDims& dims,
                               const QuantPlan& plan);
double bits_per_weight(const arch::Arch& arch, const arch::ModelDims& dims, const QuantPlan& plan);

// The sensitivity of one tensor. error[f] is the predicted increase of the loss when the tensor is
// stored in candidate format f.
struct FormatChoice {
  arch::Role role;
  int layer;
  std::vector<format::FormatId> formats;
  std::vector<double> error;
};
// Chooses one format per tensor so that the summed error is minimal within `budget_bytes` of tensor
// data (padding included). Method: Lagrangian relaxation with greedy repair. Error(unsupported)
// naming the smallest reachable size when the budget is too small.
QuantPlan allocate(const arch::Arch& arch, const arch::ModelDims& dims,
                   const std::vector<FormatChoice>& choices, std::int64_t budget_bytes);

std::string to_json(const QuantPlan& plan);
QuantPlan quant_plan_from_json(const std::string& text, const arch::Arch& arch,
                               const arch::ModelDims& dims, const std::string& where);

}  // namespace espalier::plan
