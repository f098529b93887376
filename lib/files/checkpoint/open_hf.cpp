// SPDX-License-Identifier: Apache-2.0
// Opens a Hugging Face directory: config.json, *.safetensors headers and, on first use, the
// tokenizer files. Also opens a bare config.json, which gives only sizes.
#include <algorithm>
#include <filesystem>
#include <set>

#include "checkpoint/checkpoint.h"
#include "checkpoint/own_output.h"
#include "checkpoint/problems.h"
#include "checkpoint/source.h"
#include "core/notes.h"

namespace espalier::checkpoint {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kMaxConfigBytes = 1 << 20;

// Tensors of released checkpoints that transformers does not load either. Some tools save a copy of
// the embedding although it is tied (untie_own_output has compared the values).
bool ignorable(std::string_view name, const arch::Arch& arch, const arch::ModelDims& dims) {
  for (const std::string_view pattern : arch.ignored)
    for (std::int64_t l = 0; l < dims.n_layers(); ++l) {
      const std::string full = arch::with_layer(pattern, static_cast<int>(l));
      const std::size_t optional = arch.optional_prefix.size();
      if (name == full || name == std::string_view(full).substr(optional)) return true;
    }
  const arch::TensorSpec* output = arch::find_spec(arch, arch::Role::output);
  return output != nullptr && dims.tied && name == output->hf;
}

// An output matrix that is stored although the config ties it to the embedding. Like transformers,
// this ties the two only if their values are equal. The code of some families always computes with
// the embedding.
void untie_own_output(Source& source, const format::SafeTensor* embedding) {
  const arch::TensorSpec* spec = arch::find_spec(*source.arch, arch::Role::output);
  const format::SafeTensor* output =
      source.dims.tied && spec != nullptr ? source.safetensors->find(spec->hf) : nullptr;
  if (output == nullptr || embedding == nullptr ||
      same_values(*source.safetensors, *embedding, *output))
    return;
  if (source.arch->ignores_own_output) {
    core::note(source.path + ": tensor " + output->name +
               " is not used: config.json says that the output matrix is the embedding (" +
               std::string(source.arch->keys.tied) + "), and the family's own code computes so");
    return;
  }
  source.dims.tied = false;
  core::note(source.path + ": config.json says tie_word_embeddings, but tensor " + output->name +
             " has other values than " + embedding->name +
             "; the model is taken as untied, as transformers does");
}

void refuse_others(const Source& source, const std::set<std::string, std::less<>>& expected,
                   Problems& problems) {
  for (const format::SafeTensor& tensor : source.safetensors->tensors())
    if (expected.count(tensor.name) == 0 && !ignorable(tensor.name, *source.arch, source.dims))
      problems.unsupported("tensor \"", tensor.name, "\" ", shape_text(tensor.shape),
                           " is not part of architecture ", source.arch->name);
}

void locate_tensors(Source& source, Problems& problems) {
  const format::SafetensorsSet& set = *source.safetensors;
  std::set<std::string, std::less<>> expected;
  const std::string prefix(source.arch->optional_prefix),
      embedding(arch::find_spec(*source.arch, arch::Role::token_embd)->hf);
  const bool bare = !prefix.empty() && set.find(embedding) == nullptr &&
                    set.find(embedding.substr(prefix.size())) != nullptr;
  untie_own_output(source, set.find(bare ? embedding.substr(prefix.size()) : embedding));
  const std::vector<arch::TensorRef> refs = arch::tensors(*source.arch, source.dims);
  bool any = false;
  for (std::size_t i = 0, next = 0; i < refs.size(); i = next) {
    const arch::TensorRef& ref = refs[i];
    std::int64_t rows = 0;  // rows of all matrices in this tensor
    for (next = i;
         next < refs.size() && refs[next].layer == ref.layer && refs[next].spec->hf == ref.spec->hf;
         ++next)
      rows += refs[next].rows;
    std::string name = arch::with_layer(ref.spec->hf, ref.layer);
    if (bare && name.starts_with(prefix)) name = name.substr(prefix.size());
    expected.insert(name);
    const format::SafeTensor* stored = set.find(name);
    if (stored == nullptr) {
      problems.input("tensor \"", name, "\" is missing");
      continue;
    }
    any = true;
    const bool transposed = ref.spec->to_gguf == arch::Transform::transpose;
    const std::vector<std::int64_t> want = ref.is_vector ? std::vector{rows}
                                           : transposed  ? std::vector{ref.cols, rows}
                                                         : std::vector{rows, ref.cols};
    if (stored->shape != want) {
      problems.input("tensor \"", name, "\" has shape ", shape_text(stored->shape), ", expected ",
                     shape_text(want));
      continue;
    }
    std::uint64_t offset = stored->offset;
    std::int64_t first_row = 0;
    for (std::size_t j = i; j < next; ++j) {
      const arch::TensorRef& part = refs[j];
      source.tensors[{part.spec->role, part.layer}] = {
          &set.shard(stored->shard),
          offset,
          stored->dtype,
          part.rows,
          part.cols,
          part.is_vector,
          transposed ? arch::Transform::transpose : arch::Transform::none,
          0.0f,
          name,
          first_row};
      first_row += part.rows;
      offset +=
          static_cast<std::uint64_t>(format::matrix_bytes(stored->dtype, part.rows, part.cols));
    }
  }
  ESP_CHECK(any, input, source.path, ": the files hold none of the ", expected.size(),
            " tensors of config.json, such as ", *expected.begin(),
            "; the weights are of another model");
  refuse_others(source, expected, problems);
}

// Files besides the shards and the vocabulary that decide what the model is. tokenizer.json and
// tokenizer.model count even where another vocabulary is read.
constexpr const char* kSmallFiles[] = {
    "config.json",           "generation_config.json",  "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "tokenizer.model",       "tokenizer_gguf.json",     "chat_template.json"};

}  // namespace

bool file_exists(const std::string& path) {
  std::error_code unreadable;
  return fs::exists(path, unreadable);
}

Source open_bare_config(const std::string& path) {
  Source source;
  source.path = path;
  source.hf_config = core::read_text_file(path, kMaxConfigBytes);
  const ParsedConfig parsed = parse_hf_config(source.hf_config, path);
  source.arch = parsed.arch;
  source.dims = parsed.dims;
  source.hashed_files = {path};
  source.name = fs::absolute(path).parent_path().filename().string();
  return source;
}

Source open_hf_directory(const std::string& directory, bool need_tensors) {
  const std::string base = directory.ends_with('/') ? directory : directory + "/";
  ESP_CHECK(file_exists(base + "config.json"), input, directory,
            ": there is no config.json; expected a Hugging Face model directory or a .gguf file");
  Source source = open_bare_config(base + "config.json");
  source.path = directory;
  source.hashed_files.clear();
  for (const char* file : kSmallFiles)
    if (file_exists(base + file)) source.hashed_files.push_back(base + file);
  for (const std::string& file : text::hf_vocabulary_files(directory)) {
    const bool listed =
        std::find(std::begin(kSmallFiles), std::end(kSmallFiles), file) != std::end(kSmallFiles);
    if (!listed && file_exists(base + file)) source.hashed_files.push_back(base + file);
  }
  std::error_code none;  // most models have no such folder
  for (const auto& entry : fs::directory_iterator(base + kTemplateFolder, none))
    if (entry.path().extension() == ".jinja") source.hashed_files.push_back(entry.path().string());
  if (file_exists(base + "generation_config.json"))
    source.hf_generation_config =
        core::read_text_file(base + "generation_config.json", kMaxConfigBytes);

  const bool has_tensors =
      file_exists(base + "model.safetensors") || file_exists(base + "model.safetensors.index.json");
  if (has_tensors || need_tensors) {
    ESP_CHECK(has_tensors || !(file_exists(base + "pytorch_model.bin") ||
                               file_exists(base + "pytorch_model.bin.index.json")),
              unsupported, directory,
              ": the weights are a pytorch_model.bin; save them as safetensors first "
              "(save_pretrained does)");
    ESP_CHECK(has_tensors, input, directory,
              ": there is neither model.safetensors nor model.safetensors.index.json");
    source.safetensors =
        std::make_unique<format::SafetensorsSet>(format::SafetensorsSet::open_directory(directory));
    Problems problems(directory);
    locate_tensors(source, problems);
    problems.raise();
    for (int i = 0; i < source.safetensors->n_shards(); ++i) {
      source.file_bytes += source.safetensors->shard(i).size();
      source.hashed_files.push_back(source.safetensors->shard(i).path());
    }
  }
  std::sort(source.hashed_files.begin(), source.hashed_files.end());
  source.has_tokenizer = text::hf_directory_has_tokenizer(directory);
  source.load_tokenizer = [directory] { return text::tokenizer_from_hf(directory); };
  return source;
}

}  // namespace espalier::checkpoint
