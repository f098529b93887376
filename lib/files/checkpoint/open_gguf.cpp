// SPDX-License-Identifier: Apache-2.0
// Opens a GGUF file. The metadata gives the sizes. Then the file must hold every tensor of the
// architecture in its shape, and no others. The exceptions are tensors that export regenerates:
// LongRoPE's divisors, and rope_freqs.weight, which is checked against the RoPE scaling or turned
// into it.
#include <algorithm>
#include <cmath>
#include <set>

#include "checkpoint/checkpoint.h"
#include "checkpoint/problems.h"
#include "checkpoint/rope_recovery.h"
#include "checkpoint/source.h"

namespace espalier::checkpoint {
namespace {

void locate_tensors(Source& source, const format::GgufHeader& header, bool long_factors,
                    Problems& problems) {
  std::set<std::string, std::less<>> expected{arch::gguf_name(arch::Role::rope_freqs, -1)};
  if (long_factors)
    for (const arch::Role role : {arch::Role::rope_factors_long, arch::Role::rope_factors_short})
      expected.insert(arch::gguf_name(role, -1));
  for (const arch::TensorRef& ref : arch::tensors(*source.arch, source.dims)) {
    const std::string name = arch::gguf_name(ref.spec->role, ref.layer);
    expected.insert(name);
    if (ref.elements() == 0) continue;  // an absent block
    const format::GgufTensor* stored = header.tensor(name);
    if (stored == nullptr) {
      problems.input("tensor \"", name, "\" is missing");
      continue;
    }
    const std::vector<std::int64_t> want = ref.gguf_shape();
    std::vector<std::int64_t> found = stored->ne;
    while (found.size() > want.size() && found.back() == 1) found.pop_back();
    if (found != want) {
      problems.input("tensor \"", name, "\" has shape ", shape_text(stored->ne), ", expected ",
                     shape_text(want));
      continue;
    }
    source.tensors[{ref.spec->role, ref.layer}] = {
        .values = {.format = stored->format},
        .rows = ref.rows,
        .cols = ref.cols,
        .is_vector = ref.is_vector,
        .transform = ref.spec->to_gguf == arch::Transform::transpose ? arch::Transform::none
                                                                     : ref.spec->to_gguf,
        .pieces = {{&source.gguf->files()[stored->part], stored->offset, ref.rows, name}}};
  }
  for (const format::GgufTensor& tensor : header.tensors())
    if (expected.count(tensor.name) == 0)
      problems.unsupported("tensor \"", tensor.name, "\" ", shape_text(tensor.ne),
                           not_part_of(source, tensor.name));
}

void check_rope_freqs(Source& source, const format::GgufHeader& header, Problems& problems) {
  const format::GgufTensor* tensor = header.tensor(arch::gguf_name(arch::Role::rope_freqs, -1));
  if (tensor == nullptr) return;
  const std::int64_t half = source.dims.rotated() / 2;
  if (tensor->format != format::FormatId::f32 || tensor->cols() != half || tensor->rows() != 1) {
    problems.input("tensor \"", tensor->name, "\" has shape ", shape_text(tensor->ne),
                   ", expected ", half, " float32 values");
    return;
  }
  std::vector<float> factors(static_cast<std::size_t>(half));
  source.gguf->files()[tensor->part].read(tensor->offset,
                                          std::as_writable_bytes(std::span(factors)));
  if (source.dims.rope_scaling.factor != 1) {
    if (!regenerates(source.dims, source.dims.rope_scaling, factors))
      problems.input("tensor \"", tensor->name, "\" contradicts the RoPE scaling in the metadata");
    return;
  }
  for (std::size_t i = 0; i < factors.size(); ++i)
    if (!(factors[i] > 0) || !std::isfinite(factors[i]))
      return problems.unsupported("tensor \"", tensor->name, "\" has the divisor ", factors[i],
                                  " at ", i, ", expected positive numbers");
  if (const std::optional<double> linear = recover_linear_scaling(factors))
    source.dims.rope_linear = *linear;
  else if (const auto scaling = recover_rope_scaling(source.dims, factors))
    source.dims.rope_scaling = *scaling;
  else
    problems.unsupported(
        "tensor \"", tensor->name, "\" holds divisors of frequencies that no RoPE scaling of a ",
        source.arch->name,
        " config.json gives (llama3, linear). espalier-run and llama.cpp run "
        "this file, but a model made from it could not state them: start from the Hugging Face "
        "directory that it was converted from");
}

// Reads the divisors of LongRoPE, whose presence the metadata stated.
void read_long_factors(Source& source, const format::GgufHeader& header, Problems& problems) {
  const auto read = [&](arch::Role role, std::vector<float>& out) {
    const format::GgufTensor* tensor = header.tensor(arch::gguf_name(role, -1));
    const std::int64_t half = source.dims.rotated() / 2;
    if (tensor->format != format::FormatId::f32 || tensor->cols() != half || tensor->rows() != 1) {
      problems.input("tensor \"", tensor->name, "\" has shape ", shape_text(tensor->ne),
                     ", expected ", half, " float32 values");
      return;
    }
    out.resize(static_cast<std::size_t>(half));
    source.gguf->files()[tensor->part].read(tensor->offset, std::as_writable_bytes(std::span(out)));
    for (const float v : out)
      if (!(v > 0) || !std::isfinite(v))
        return problems.input("tensor \"", tensor->name, "\" has the divisor ", v,
                              ", expected positive numbers");
  };
  read(arch::Role::rope_factors_long, source.dims.long_rope.long_factors);
  read(arch::Role::rope_factors_short, source.dims.long_rope.short_factors);
}

text::TokenizerData special_ids(const format::GgufHeader& header) {
  text::TokenizerData ids;
  const auto id = [&](const char* key) -> std::optional<std::int32_t> {
    const std::optional<std::int64_t> value = header.optional_integer(key);
    if (!value || *value < 0 || *value > std::int64_t{1} << 30) return std::nullopt;
    return static_cast<std::int32_t>(*value);
  };
  ids.bos = id("tokenizer.ggml.bos_token_id");
  ids.eos = id("tokenizer.ggml.eos_token_id");
  ids.pad = id("tokenizer.ggml.padding_token_id");
  return ids;
}

}  // namespace

Source open_gguf(const std::string& path) {
  Source source;
  source.path = path;
  source.is_gguf = true;
  const auto files = std::make_shared<const format::GgufFiles>(path);
  source.gguf = files;
  source.file_bytes = files->bytes();
  const format::GgufHeader* header = &files->header();

  const ParsedConfig parsed = dims_from_gguf(*header);
  source.arch = parsed.arch;
  source.dims = parsed.dims;
  Problems problems(path);
  locate_tensors(source, *header, parsed.long_factors, problems);
  check_rope_freqs(source, *header, problems);
  if (parsed.long_factors) read_long_factors(source, *header, problems);
  problems.raise();

  source.name = header->optional_text("general.name").value_or(model_name(path));
  source.description = description_of(*header);
  source.hf_generation_config = generation_config_of(source.description, *header);
  source.has_tokenizer = header->find("tokenizer.ggml.model") != nullptr;
  source.load_tokenizer = [files] { return text::tokenizer_from_gguf(files->header()); };
  if (has_hf_form(*source.arch, source.dims)) {
    const text::TokenizerData ids = special_ids(*header);
    source.hf_config = make_hf_config(*source.arch, source.dims, "", format::FormatId::f32, &ids);
  }
  return source;
}

}  // namespace espalier::checkpoint
