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

// Finds the tensors of the table in the files. What one tensor of a file holds may be several of
// the table, whose rows follow each other, or one matrix of a stack.
class Locator {
 public:
  Locator(Source& source, Problems& problems)
      : source_(source), problems_(problems), set_(*source.safetensors) {
    const std::string prefix(source.arch->optional_prefix),
        embedding(arch::find_spec(*source.arch, arch::Role::token_embd)->hf);
    if (!prefix.empty() && set_.find(embedding) == nullptr &&
        set_.find(embedding.substr(prefix.size())) != nullptr)
      left_out_ = prefix;
  }

  // As the files have it, perhaps without the prefix.
  std::string name(std::string_view pattern, int layer, std::int64_t matrix = 0) const {
    std::string out = arch::with_indices(pattern, layer, matrix);
    if (!left_out_.empty() && out.starts_with(left_out_)) out.erase(0, left_out_.size());
    return out;
  }

  void locate() {
    const std::vector<arch::TensorRef> refs = arch::tensors(*source_.arch, source_.dims);
    for (std::size_t i = 0, next = 0; i < refs.size(); i = next) {
      const std::string_view pattern = pattern_of(refs[i]);
      for (next = i; next < refs.size() && refs[next].layer == refs[i].layer &&
                     pattern_of(refs[next]) == pattern;)
        ++next;
      locate(std::span(refs).subspan(i, next - i), pattern);
    }
    ESP_CHECK(any_, input, source_.path, ": the files hold none of the ", expected_.size(),
              " tensors of config.json, such as ", *expected_.begin(),
              "; the weights are of another model");
    for (const format::SafeTensor& tensor : set_.tensors())
      if (expected_.count(tensor.name) == 0 && !ignorable(tensor.name, *source_.arch, source_.dims))
        problems_.unsupported("tensor \"", tensor.name, "\" ", shape_text(tensor.shape),
                              " is not part of architecture ", source_.arch->name);
  }

 private:
  std::string_view pattern_of(const arch::TensorRef& ref) const {
    const std::string_view stack = ref.spec->hf_stack;
    return !stack.empty() && set_.find(name(stack, ref.layer)) != nullptr ? stack : ref.spec->hf;
  }

  // Tensors of the table that share tensors of the files: one, or one for each matrix of a stack.
  void locate(std::span<const arch::TensorRef> parts, std::string_view pattern) {
    const arch::TensorRef& first = parts.front();
    const bool apart = first.spec->is_stack() && pattern == first.spec->hf;
    const std::int64_t files = apart ? first.stack : 1, matrices = first.stack / files;
    if (files > static_cast<std::int64_t>(set_.tensors().size()))
      return problems_.input("tensor \"", name(pattern, first.layer, files - 1),
                             "\" is missing, and others before it");
    std::int64_t rows = 0;  // of one matrix
    for (const arch::TensorRef& part : parts) rows += part.rows / part.stack;
    const bool transposed = first.spec->to_gguf == arch::Transform::transpose;
    std::vector<std::int64_t> want{rows};
    if (!first.is_vector) want.push_back(first.cols);
    if (transposed) std::swap(want.front(), want.back());
    if (first.spec->is_stack() && !apart) want.insert(want.begin(), matrices);
    for (std::int64_t file = 0; file < files; ++file) {
      const std::string full = name(pattern, first.layer, file);
      expected_.insert(full);
      const format::SafeTensor* stored = set_.find(full);
      if (stored == nullptr) {
        problems_.input("tensor \"", full, "\" is missing");
        continue;
      }
      any_ = true;
      if (stored->shape != want) {
        problems_.input("tensor \"", full, "\" has shape ", shape_text(stored->shape),
                        ", expected ", shape_text(want));
        continue;
      }
      take(parts, *stored, matrices);
    }
  }

  void take(std::span<const arch::TensorRef> parts, const format::SafeTensor& stored,
            std::int64_t matrices) {
    std::uint64_t offset = stored.offset;
    std::int64_t first_row = 0;
    for (std::int64_t matrix = 0; matrix < matrices; ++matrix)
      for (const arch::TensorRef& part : parts) {
        const bool transposed = part.spec->to_gguf == arch::Transform::transpose;
        const auto [at, is_new] = source_.tensors.try_emplace(
            {part.spec->role, part.layer},
            StoredTensor{
                .format = stored.dtype,
                .rows = part.rows,
                .cols = part.cols,
                .is_vector = part.is_vector,
                .transform = transposed ? arch::Transform::transpose : arch::Transform::none});
        StoredTensor& tensor = at->second;
        if (tensor.format != stored.dtype)
          return problems_.unsupported(
              "tensor \"", stored.name, "\" is ", format::info(stored.dtype).name, " but \"",
              tensor.pieces.front().name, "\" is ", format::info(tensor.format).name);
        const std::int64_t rows = part.rows / part.stack;
        if (!tensor.pieces.empty() && tensor.pieces.back().name == stored.name &&
            tensor.pieces.back().first_row + tensor.pieces.back().rows == first_row)
          tensor.pieces.back().rows += rows;
        else
          tensor.pieces.push_back(
              {&set_.shard(stored.shard), offset, rows, stored.name, first_row});
        first_row += rows;
        offset += static_cast<std::uint64_t>(format::matrix_bytes(stored.dtype, rows, part.cols));
      }
  }

  Source& source_;
  Problems& problems_;
  const format::SafetensorsSet& set_;
  std::string left_out_;
  std::set<std::string, std::less<>> expected_;
  bool any_ = false;
};

void locate_tensors(Source& source, Problems& problems) {
  Locator locator(source, problems);
  const std::string_view embedding = arch::find_spec(*source.arch, arch::Role::token_embd)->hf;
  untie_own_output(source, source.safetensors->find(locator.name(embedding, -1)));
  locator.locate();
}

// Files besides the shards and the vocabulary that decide what the model is. tokenizer.json and
// tokenizer.model count even where another vocabulary is read.
constexpr const char* kSmallFiles[] = {"config.json",
                                       "generation_config.json",
                                       "tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "chat_template.jinja",
                                       "tokenizer.model",
                                       "tokenizer_gguf.json",
                                       "chat_template.json",
                                       "README.md"};

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
  const std::string folder = fs::path(path).parent_path().string();
  source.name = model_name(folder.empty() ? "." : folder);
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
  source.description = description_of(base, source.hf_generation_config);
  if (const format::GgufValue* name = find(source.description, "general.name"))
    source.name = std::get<std::string>(name->value);

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
