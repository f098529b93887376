// SPDX-License-Identifier: Apache-2.0
// Opens a Hugging Face directory: config.json, *.safetensors headers and, on first use, the
// tokenizer files. Also opens a bare config.json, which gives only sizes.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/absent_weights.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/own_output.h"
#include "checkpoint/problems.h"
#include "checkpoint/source.h"
#include "checkpoint/stated_tokens.h"
#include "checkpoint/tensor_names.h"
#include "checkpoint/text_part.h"
#include "core/notes.h"
#include "core/parts.h"
#include "format/json_input.h"

namespace espalier::checkpoint {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kMaxConfigBytes = 1 << 20, kMaxIndexBytes = 1 << 28;

// What the families' tables call the buffer of rotary positions, and others of the same kind.
constexpr std::string_view kRotaryTable = "inv_freq";
constexpr std::string_view kOtherRotaryTables[] = {"original_inv_freq", "cos_cached", "sin_cached"};

// Tensors of released checkpoints that transformers does not load either, whatever their dtype:
// what it computes now, and what holds no values. Some tools save a copy of the embedding although
// it is tied (untie_own_output has compared the values).
bool ignorable(const TensorNames& names, std::string_view name, const format::SafeTensor& tensor,
               const Source& source) {
  if (tensor.bytes == 0) return true;
  const arch::Arch& arch = *source.arch;
  for (const std::string_view pattern : arch.ignored)
    for (std::int64_t l = 0; l < source.dims.n_layers(); ++l) {
      const std::string full = names.expected(arch::with_layer(pattern, static_cast<int>(l)));
      if (name == full) return true;
      if (!full.ends_with(kRotaryTable)) continue;
      for (const std::string_view other : kOtherRotaryTables)
        if (name == full.substr(0, full.size() - kRotaryTable.size()).append(other)) return true;
    }
  const arch::TensorSpec* output = arch::find_spec(arch, arch::Role::output);
  return output != nullptr && source.dims.tied && name == output->hf;
}

// What tools that quantize put beside the weights, or in their place.
bool is_of_quantization(std::string_view name) {
  for (const std::string_view ending : {".qweight",
                                        ".qzeros",
                                        ".g_idx",
                                        ".scales",
                                        ".SCB",
                                        ".weight_scale",
                                        ".weight_scale_inv",
                                        ".weight_packed",
                                        ".weight_shape",
                                        ".weight_zero_point",
                                        ".weight_format",
                                        ".input_scale",
                                        ".absmax",
                                        ".quant_map",
                                        ".nested_absmax",
                                        ".nested_quant_map",
                                        "_blocks",
                                        "_scales",
                                        ".bitmask",
                                        ".compressed",
                                        ".row_offsets"})
    if (name.ends_with(ending)) return true;
  return name.find(".quant_state.") != std::string_view::npos;
}

// What tools that quantize keep beside weights that are floats: ranges of the KV cache and of
// activations, which only their own programs use.
bool is_range(std::string_view name) {
  for (const std::string_view ending :
       {".k_scale", ".v_scale", ".q_scale", ".prob_scale", "_quantizer._amax",
        "_quantizer._pre_quant_scale", ".k_proj.output_scale", ".v_proj.output_scale"})
    if (name.ends_with(ending)) return true;
  return false;
}

// Of a classifier or a reward model, whose output matrix is no vocabulary's.
bool is_head(std::string_view name) {
  for (const std::string_view head : {"score.", "classifier.", "qa_outputs.", "regression_head."})
    if (name.starts_with(head)) return true;
  return false;
}

// An output matrix that is stored although the config ties it to the embedding. Like transformers,
// this ties the two only if their values are equal. The code of some families always computes with
// the embedding.
void untie_own_output(Source& source, const format::SafeTensor* embedding,
                      const format::SafeTensor* output) {
  if (!source.dims.tied || output == nullptr || embedding == nullptr ||
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
  Locator(Source& source, const TensorNames& names, Problems& problems)
      : source_(source), names_(names), problems_(problems), set_(*source.safetensors) {}

  void locate() {
    for (const auto& [name, tensor] : names_.all()) {
      if (quantized_.empty() && is_of_quantization(name)) quantized_ = "there is " + tensor->name;
      require_language_model(name, *tensor);
    }
    const std::vector<arch::TensorRef> refs = arch::tensors(*source_.arch, source_.dims);
    for (std::size_t i = 0, next = 0; i < refs.size(); i = next) {
      const std::string_view pattern = pattern_of(refs[i]);
      for (next = i; next < refs.size() && refs[next].layer == refs[i].layer &&
                     pattern_of(refs[next]) == pattern;)
        ++next;
      locate(std::span(refs).subspan(i, next - i), pattern);
    }
    if (!quantized_.empty())
      core::fail(core::ErrorKind::unsupported, source_.path,
                 ": the weights are quantized by another tool",
                 source_.quantization.empty() ? "" : " (" + source_.quantization + ")", ": ",
                 quantized_, "; save a float version first, or fetch the model's float files");
    ESP_CHECK(any_, input, source_.path, ": the files hold none of the ", expected_.size(),
              " tensors of config.json, such as ", *expected_.begin(), ", but ",
              names_.all().empty() ? std::string("no tensors") : names_.all().begin()->second->name,
              " and others; the weights are of another model, or in another layout");
    std::int64_t ranges = 0;
    for (const auto& [name, tensor] : names_.all()) {
      if (expected_.count(name) != 0 || ignorable(names_, name, *tensor, source_)) continue;
      if (is_range(name))
        ++ranges;
      else
        problems_.unsupported("tensor \"", tensor->name, "\" ", shape_text(tensor->shape),
                              not_part_of(source_, name));
    }
    if (ranges > 0)
      core::note(source_.path + ": " + std::to_string(ranges) +
                 " tensors with ranges of a quantization by another tool are left out; the " +
                 "weights are floats");
    if (doubles_ > 0)
      core::note(source_.path + ": " + std::to_string(doubles_) +
                 " tensors are F64; their values are rounded to F32");
  }

 private:
  // Tensors that show what else the directory holds.
  void require_language_model(const std::string& name, const format::SafeTensor& tensor) const {
    ESP_CHECK(name.find(".lora_") == name.npos, unsupported, source_.path, ": tensor ", tensor.name,
              " is of a LoRA adapter that is not merged with its base; merge it first "
              "(merge_and_unload of PEFT does)");
    ESP_CHECK(!is_head(name), unsupported, source_.path, ": tensor ", tensor.name,
              " is the head of a classifier or a reward model, which is no language model; "
              "start from the model that it was trained from");
  }
  std::string_view pattern_of(const arch::TensorRef& ref) const {
    const std::string_view stack = ref.spec->hf_stack;
    return !stack.empty() && names_.find(arch::with_layer(stack, ref.layer)) != nullptr
               ? stack
               : ref.spec->hf;
  }

  // Tensors of the table that share tensors of the files: one, or one for each matrix of a stack.
  void locate(std::span<const arch::TensorRef> parts, std::string_view pattern) {
    const arch::TensorRef& first = parts.front();
    const bool apart = first.spec->is_stack() && pattern == first.spec->hf;
    const std::int64_t files = apart ? first.stack : 1, matrices = first.stack / files;
    if (files > static_cast<std::int64_t>(set_.tensors().size()))
      return problems_.input("tensor \"",
                             names_.expected(arch::with_indices(pattern, first.layer, files - 1)),
                             "\" is missing, and others before it");
    std::int64_t rows = 0;  // of one matrix
    for (const arch::TensorRef& part : parts) rows += part.rows / part.stack;
    const bool transposed = first.spec->to_gguf == arch::Transform::transpose;
    std::vector<std::int64_t> want{rows};
    if (!first.is_vector) want.push_back(first.cols);
    if (transposed) std::swap(want.front(), want.back());
    if (first.spec->is_stack() && !apart) want.insert(want.begin(), matrices);
    for (std::int64_t file = 0; file < files; ++file) {
      const std::string of_table = arch::with_indices(pattern, first.layer, file),
                        full = names_.expected(of_table);
      expected_.insert(full);
      const format::SafeTensor* stored = names_.find(of_table);
      if (stored == nullptr) {
        problems_.input("tensor \"", full, "\" is missing");
        continue;
      }
      any_ = true;
      if (!is_readable(*stored)) {
        refuse_dtype(*stored);
        continue;
      }
      if (stored->shape != want) {
        problems_.input("tensor \"", stored->name, "\" has shape ", shape_text(stored->shape),
                        ", expected ", shape_text(want));
        continue;
      }
      take(parts, *stored, matrices);
    }
  }

  // Integers of the config's quantization, or the shape of packed ones.
  void refuse_dtype(const format::SafeTensor& stored) {
    const bool packed = stored.stored.starts_with("I") || stored.stored.starts_with("U") ||
                        stored.stored.starts_with("F8");
    if ((packed || !source_.quantization.empty()) && quantized_.empty())
      quantized_ = "tensor " + stored.name + " is " + stored.stored;
    problems_.unsupported("tensor \"", stored.name, "\" has dtype ", stored.stored,
                          "; F32, F16, BF16 and F64 are supported");
  }

  void take(std::span<const arch::TensorRef> parts, const format::SafeTensor& stored,
            std::int64_t matrices) {
    const StoredValues values = values_of(stored);
    if (values.doubles) ++doubles_;
    std::uint64_t offset = stored.offset;
    std::int64_t first_row = 0;
    for (std::int64_t matrix = 0; matrix < matrices; ++matrix)
      for (const arch::TensorRef& part : parts) {
        const bool transposed = part.spec->to_gguf == arch::Transform::transpose;
        const auto [at, is_new] = source_.tensors.try_emplace(
            {part.spec->role, part.layer},
            StoredTensor{
                .values = values,
                .rows = part.rows,
                .cols = part.cols,
                .is_vector = part.is_vector,
                .transform = transposed ? arch::Transform::transpose : arch::Transform::none});
        StoredTensor& tensor = at->second;
        if (tensor.values != values)
          return problems_.unsupported("tensor \"", stored.name, "\" is ", stored.stored, " but \"",
                                       tensor.pieces.front().name, "\" is of another dtype");
        const std::int64_t rows = part.rows / part.stack;
        if (!tensor.pieces.empty() && tensor.pieces.back().name == stored.name &&
            tensor.pieces.back().first_row + tensor.pieces.back().rows == first_row)
          tensor.pieces.back().rows += rows;
        else
          tensor.pieces.push_back(
              {&set_.shard(stored.shard), offset, rows, stored.name, first_row});
        first_row += rows;
        offset += static_cast<std::uint64_t>(values.bytes(rows, part.cols));
      }
  }

  Source& source_;
  const TensorNames& names_;
  Problems& problems_;
  const format::SafetensorsSet& set_;
  std::set<std::string, std::less<>> expected_;
  std::string quantized_;  // what shows that the weights are no floats
  int doubles_ = 0;
  bool any_ = false;
};

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : ", ") + part;
  return out;
}

// What was read otherwise than it is written, or left out.
void note_differences(const Source& source, const TensorNames& names) {
  if (!names.wrappers().empty())
    core::note(source.path + ": names of tensors are read without " + joined(names.wrappers()) +
               " in them, which the tool that saved them has left there");
  if (!source.part_of.empty())
    core::note(source.path + ": the text part of this " + source.part_of + " is read" +
               (names.n_others() == 0 ? std::string()
                                      : "; " + std::to_string(names.n_others()) +
                                            " tensors of its other parts are left out (" +
                                            joined(names.other_parts()) + ")"));
  if (!source.quantization.empty())
    core::note(source.path + ": config.json says that the weights are quantized (" +
               source.quantization + "), but all are floats; they are read as they are");
}

void locate_tensors(Source& source, Problems& problems) {
  const TensorNames names(source);
  const arch::TensorSpec* output = arch::find_spec(*source.arch, arch::Role::output);
  const format::SafeTensor* own = output == nullptr ? nullptr : names.find(output->hf);
  // A whole's config need not say whether its text part is tied.
  if (!source.part_of.empty() && own == nullptr && !source.says_tied) source.dims.tied = true;
  untie_own_output(source, names.find(arch::find_spec(*source.arch, arch::Role::token_embd)->hf),
                   own);
  Locator(source, names, problems).locate();
  if (problems.empty()) note_differences(source, names);
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

// "; give the file m.gguf in it": of several the first by name. A split model is opened by its
// first part, which is the first by name.
std::string named_gguf(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code unreadable;
  for (const auto& entry : fs::directory_iterator(directory, unreadable))
    if (entry.path().extension() == ".gguf") files.push_back(entry.path().string());
  if (files.empty()) return "";
  std::sort(files.begin(), files.end());
  const bool split = core::part_name(files.front()).has_value();
  return "; there " + std::string(files.size() == 1 ? "is " : "are ") +
         std::to_string(files.size()) + " .gguf in it: give " +
         (split ? "the first part of the model, " : "one, such as ") + files.front();
}

// An object without keys for a model without the file.
nlohmann::json read_generation_config(Source& source, const std::string& path) {
  if (!file_exists(path)) return nlohmann::json::object();
  source.hf_generation_config = core::read_text_file(path, kMaxConfigBytes);
  auto config = format::parse_json<nlohmann::json>(source.hf_generation_config, path);
  ESP_CHECK(config.is_object(), input, path, ": is no JSON object; repair it, or remove it");
  Problems problems(path);
  check_stated_tokens(config, source.dims.vocab, problems);
  problems.raise();
  return config;
}

// As in transformers, one file counts where there are shards too.
void note_two_sets(const std::string& base) {
  const std::string single = base + "model.safetensors", index = single + ".index.json";
  if (!file_exists(single) || !file_exists(index)) return;
  const std::string text = core::read_text_file(index, kMaxIndexBytes);
  if (text.find("-of-") != std::string::npos)
    core::note(single + " is read, as in transformers, and not the shards that " + index +
               " lists beside it");
}

}  // namespace

bool file_exists(const std::string& path) {
  std::error_code unreadable;
  return fs::exists(path, unreadable);
}

Source open_bare_config(const std::string& path) {
  Source source;
  source.path = path;
  source.hf_config = core::read_text_file(path, kMaxConfigBytes);
  if (std::optional<TextPart> part = text_part(source.hf_config, path)) {
    source.hf_config = std::move(part->config);
    source.part_of = std::move(part->of);
    source.says_tied = part->says_tied;
  }
  const ParsedConfig parsed = parse_hf_config(source.hf_config, path);
  source.arch = parsed.arch;
  source.dims = parsed.dims;
  source.quantization = parsed.quantization;
  source.hashed_files = {path};
  const std::string folder = fs::path(path).parent_path().string();
  source.name = model_name(folder.empty() ? "." : folder);
  return source;
}

Source open_hf_directory(const std::string& directory, bool need_tensors) {
  const std::string base = directory.ends_with('/') ? directory : directory + "/";
  const bool adapter = file_exists(base + kAdapterConfig);
  ESP_CHECK(file_exists(base + "config.json"), input, directory,
            adapter ? ": is an adapter (PEFT), which changes a model and is none itself; merge it "
                      "into its base first: espalier import BASE --adapter " +
                          directory + " --out MERGED"
                    : ": there is no config.json; expected a Hugging Face model directory or a "
                      ".gguf file" +
                          named_gguf(directory));
  if (adapter)
    core::note(directory +
               ": the adapter beside the model (adapter_config.json) is read by import --adapter "
               "alone, which merges it");
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
  const auto generation = read_generation_config(source, base + "generation_config.json");
  source.description = description_of(base, generation);
  if (const format::GgufValue* name = find(source.description, "general.name"))
    source.name = std::get<std::string>(name->value);
  else
    source.is_step = is_our_card(base + "README.md");

  const bool has_tensors =
      file_exists(base + "model.safetensors") || file_exists(base + "model.safetensors.index.json");
  if (has_tensors || need_tensors) {
    if (!has_tensors) refuse_absent_weights(directory);
    note_two_sets(base);
    source.safetensors = std::make_unique<format::SafetensorsSet>(
        format::SafetensorsSet::open_directory(directory, format::SafetensorsSet::Allowed::any));
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
