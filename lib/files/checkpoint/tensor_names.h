// SPDX-License-Identifier: Apache-2.0
// The tensors of safetensors files by the names of the architecture's table. Files may have:
// - components that a wrapper of PyTorch put into names, such as "_orig_mod." (torch.compile),
//   "module." (DistributedDataParallel) or those of FSDP, PEFT's "base_model.model." in front, or
//   the name of the member that was the model in a larger module, such as "student."
// - names without the first component, from saving the model without its output ("layers.0...")
// - the names of a larger model, of which this is the text part (text_part.h)
//
// Messages keep the names of the files.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/source.h"

namespace espalier::checkpoint {

class TensorNames {
 public:
  // Error(input) where two tensors of the files have one name of the table.
  explicit TensorNames(const Source& source);

  const format::SafeTensor* find(std::string_view table_name) const;  // nullptr: there is none
  // As the file would have it, without the first component where files leave it out.
  std::string expected(std::string_view table_name) const;
  // Every tensor of the model, by its name without wrappers.
  const std::map<std::string, const format::SafeTensor*, std::less<>>& all() const { return all_; }
  // Those of the larger model's other parts: the parts' names.
  const std::vector<std::string>& other_parts() const { return other_parts_; }
  std::size_t n_others() const { return n_others_; }
  // What wrappers put into names, as it stands there: "_orig_mod.".
  const std::vector<std::string>& wrappers() const { return wrappers_; }

 private:
  std::string common_prefix(const std::vector<format::SafeTensor>& tensors,
                            const std::string& embedding);
  void add(const format::SafeTensor& tensor, const Source& source, bool adapted);

  std::map<std::string, const format::SafeTensor*, std::less<>> all_;
  std::vector<std::string> other_parts_, wrappers_;
  std::size_t n_others_ = 0;
  std::string first_;     // "model."
  std::string prefix_;    // of all names, in front
  bool shorter_ = false;  // files leave it out
};

}  // namespace espalier::checkpoint
