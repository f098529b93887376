// SPDX-License-Identifier: Apache-2.0
// Reads a header and checks it.
#include "runtime/weight_index.h"

#include <malloc.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "arch/arch.h"
#include "core/error.h"
#include "format/gguf_files.h"

namespace espalier::runtime {
namespace {

using arch::Role;

std::string shape_text(const std::vector<std::int64_t>& ne) {
  std::string out = "[";
  for (const std::int64_t n : ne) out += (out.size() > 1 ? ", " : "") + std::to_string(n);
  return out + "]";
}

// Checks names and shapes of all tensors against the table. Throws one Error with every problem, of
// which at most kListed are spelled out.
void check_tensors(const format::GgufHeader& header, const arch::GgufModel& model) {
  constexpr std::size_t kListed = 20;
  std::vector<std::string> problems;
  std::set<std::string> expected;
  for (const arch::TensorRef& ref : arch::tensors(*model.arch, model.dims)) {
    const std::string name = arch::gguf_name(ref.spec->role, ref.layer);
    expected.insert(name);
    if (ref.elements() == 0) continue;  // a block that this layer lacks
    const format::GgufTensor* tensor = header.tensor(name);
    if (tensor == nullptr)
      problems.push_back("tensor '" + name + "' is missing");
    else if (tensor->ne != ref.gguf_shape())
      problems.push_back("tensor '" + name + "' has the shape " + shape_text(tensor->ne) +
                         ", expected " + shape_text(ref.gguf_shape()));
  }
  const auto divisors = [&](Role role) {
    const std::string name = arch::gguf_name(role, -1);
    expected.insert(name);
    const std::vector<std::int64_t> shape{model.dims.rotated() / 2};
    const format::GgufTensor& tensor = *header.tensor(name);
    if (tensor.ne != shape || tensor.format != format::FormatId::f32)
      problems.push_back("tensor '" + name + "' is " +
                         std::string(format::info(tensor.format).name) + " of the shape " +
                         shape_text(tensor.ne) + ", expected f32 and " + shape_text(shape));
  };
  if (model.rope_factors) divisors(Role::rope_freqs);
  if (model.long_factors)
    for (const Role role : {Role::rope_factors_long, Role::rope_factors_short}) divisors(role);
  for (const format::GgufTensor& tensor : header.tensors())
    if (!expected.contains(tensor.name))
      problems.push_back("tensor '" + tensor.name + "' is not part of the architecture");
  if (problems.empty()) return;

  std::ostringstream text;
  text << header.path() << ": the tensors do not fit architecture '" << model.arch->gguf << "' ("
       << problems.size() << " problems):";
  for (std::size_t i = 0; i < std::min(problems.size(), kListed); ++i)
    text << "\n  " << problems[i];
  if (problems.size() > kListed) text << "\n  and " << problems.size() - kListed << " more";
  core::fail(core::ErrorKind::input, text.str());
}

}  // namespace

WeightIndex read_index(const std::string& path) {
  WeightIndex index{.files = {}, .parts = {}, .model = {}, .tensors = {}};
  {
    format::GgufFiles files(path);
    const format::GgufHeader& header = files.header();
    index.parts = parts_of(header);
    index.model = arch::read_gguf_model(header);
    arch::require_computed(*index.model.arch, index.model.dims, path);
    check_tensors(header, index.model);
    for (const format::GgufTensor& tensor : header.tensors())
      index.tensors.emplace(tensor.name, tensor);
    index.files = std::move(files).take_files();
  }
  // 100,000 small strings leave a heap that nothing else fills.
  ::malloc_trim(0);
  return index;
}

std::int64_t WeightIndex::bytes_of_layers() const {
  std::int64_t sum = 0;
  for (const arch::TensorRef& ref : arch::tensors(*model.arch, model.dims))
    if (ref.layer >= 0 && ref.elements() > 0)
      sum += static_cast<std::int64_t>(find(ref.spec->role, ref.layer)->bytes);
  return sum;
}

}  // namespace espalier::runtime
