// SPDX-License-Identifier: Apache-2.0
// From the names in files to those of the table.
#include "checkpoint/tensor_names.h"

#include <algorithm>

#include "checkpoint/text_part.h"
#include "core/error.h"

namespace espalier::checkpoint {

// The layer is the first component that is a number: "model.layers.3.mlp", "blk.3.attn_q".
std::string not_part_of(const Source& source, std::string_view name) {
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string part(name.substr(begin, end - begin));
    if (!part.empty() && part.size() < 9 &&
        part.find_first_not_of("0123456789") == std::string::npos) {
      if (std::stoll(part) < source.dims.n_layers()) break;
      return " is of layer " + part + ", and the model has " +
             std::to_string(source.dims.n_layers()) + " layers, from 0 on";
    }
    begin = end + 1;
  }
  return " is not part of architecture " + std::string(source.arch->name);
}
namespace {

constexpr std::string_view kWrappers[] = {
    "_orig_mod.",       "module.",    "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
    "_forward_module.", "base_layer."};
constexpr std::string_view kAdapted = "base_model.model.";

void remember(std::vector<std::string>& list, std::string_view text) {
  if (std::find(list.begin(), list.end(), text) == list.end()) list.emplace_back(text);
}

// Takes the components of wrappers out of a name.
std::string unwrapped(std::string name, std::vector<std::string>& seen) {
  for (const std::string_view wrapper : kWrappers)
    for (std::size_t at = name.find(wrapper); at != std::string::npos;
         at = name.find(wrapper, at)) {
      if (at > 0 && name[at - 1] != '.') {  // the end of another component
        ++at;
        continue;
      }
      name.erase(at, wrapper.size());
      remember(seen, wrapper);
    }
  return name;
}

}  // namespace

TensorNames::TensorNames(const Source& source) {
  const std::string embedding(arch::find_spec(*source.arch, arch::Role::token_embd)->hf);
  first_ = embedding.substr(0, embedding.find('.') + 1);
  const std::vector<format::SafeTensor>& tensors = source.safetensors->tensors();
  const bool adapted = std::any_of(tensors.begin(), tensors.end(), [](const format::SafeTensor& t) {
    return t.name.find(".lora_") != std::string::npos;
  });
  if (source.part_of.empty()) prefix_ = common_prefix(tensors, embedding);
  for (const format::SafeTensor& tensor : tensors) add(tensor, source, adapted);
  shorter_ = all_.count(embedding) == 0 && all_.count(embedding.substr(first_.size())) != 0;
}

// What every name of the table has in front, from saving a larger module that holds the model:
// "student.model.embed_tokens.weight". Empty where the names are as they should be, or where
// several would do.
std::string TensorNames::common_prefix(const std::vector<format::SafeTensor>& tensors,
                                       const std::string& embedding) {
  std::string prefix;
  for (const format::SafeTensor& tensor : tensors) {
    std::vector<std::string> seen;
    const std::string name = unwrapped(tensor.name, seen);
    if (name == embedding || name == embedding.substr(first_.size())) return "";
    if (!name.ends_with("." + embedding)) continue;
    if (!prefix.empty()) return "";
    prefix = name.substr(0, name.size() - embedding.size());
  }
  return prefix == kAdapted ? "" : prefix;
}

void TensorNames::add(const format::SafeTensor& tensor, const Source& source, bool adapted) {
  std::string name = unwrapped(tensor.name, wrappers_);
  if (!adapted && name.starts_with(kAdapted)) {
    name.erase(0, kAdapted.size());
    remember(wrappers_, kAdapted);
  }
  if (!prefix_.empty() && name.starts_with(prefix_)) {
    name.erase(0, prefix_.size());
    remember(wrappers_, prefix_);
  }
  if (!source.part_of.empty()) {
    const std::string part = other_part(name);
    if (!part.empty()) {
      remember(other_parts_, part);
      ++n_others_;
      return;
    }
    name = name_in_text_part(name, first_);
  }
  const auto [at, is_new] = all_.emplace(name, &tensor);
  ESP_CHECK(is_new, input, source.path, ": tensors ", at->second->name, " and ", tensor.name,
            " are both ", name, " of the model; remove the one that is not meant");
}

const format::SafeTensor* TensorNames::find(std::string_view table_name) const {
  const auto found = all_.find(expected(table_name));
  return found == all_.end() ? nullptr : found->second;
}

std::string TensorNames::expected(std::string_view table_name) const {
  if (shorter_ && table_name.starts_with(first_)) table_name.remove_prefix(first_.size());
  return std::string(table_name);
}

}  // namespace espalier::checkpoint
