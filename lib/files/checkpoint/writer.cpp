// SPDX-License-Identifier: Apache-2.0
// Writes a Hugging Face directory as a whole. Everything is written into <directory>/.incomplete.
// finish() first removes the old config.json, because a directory without it is no model. Then it
// moves the files into place, config.json last. So no mixture of an old and a new model can be
// opened.
//
// A run that dies leaves the previous model intact, or at worst no model, never a wrong one.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/modeling.h"
#include "checkpoint/stated_tokens.h"
#include "core/error.h"
#include "core/file.h"
#include "core/half.h"
#include "core/output.h"
#include "format/finite.h"
#include "format/safetensors.h"

namespace espalier::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCard = "README.md";

// Whether a file belongs to a model directory of ours. Such files are replaced or removed together
// with the model.
bool belongs_to_model(const std::string& name) {
  static const char* const names[] = {"config.json",        "generation_config.json",
                                      "tokenizer.json",     "tokenizer_config.json",
                                      "tokenizer.model",    "special_tokens_map.json",
                                      "vocab.json",         "merges.txt",
                                      "added_tokens.json",  "chat_template.jinja",
                                      "chat_template.json", "additional_chat_templates",
                                      "tekken.json",        "tokenizer_gguf.json",
                                      "plan.json",          kModelingFile,
                                      "manifest.json",      "model.safetensors.index.json"};
  if (std::find(std::begin(names), std::end(names), name) != std::end(names)) return true;
  return name == "model.safetensors" ||
         (name.starts_with("model-") && name.ends_with(".safetensors"));
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  ESP_CHECK(!error, input, directory, ": cannot list the directory: ", error.message());
  std::sort(names.begin(), names.end());
  return names;
}

// transformers reads the end tokens of this file and no longer those of config.json, `model`.
std::string generation_config_from(const text::TokenizerData& tokenizer, const std::string& model) {
  nlohmann::ordered_json config;
  config["_from_model_config"] = true;
  if (tokenizer.bos) config["bos_token_id"] = *tokenizer.bos;
  std::vector<std::int64_t> ends = end_tokens_of(model);
  if (tokenizer.eos && std::find(ends.begin(), ends.end(), *tokenizer.eos) == ends.end())
    ends.push_back(*tokenizer.eos);
  if (ends.size() == 1) config["eos_token_id"] = ends.front();
  if (ends.size() > 1) config["eos_token_id"] = ends;
  if (tokenizer.pad) config["pad_token_id"] = *tokenizer.pad;
  return config.dump(2) + "\n";
}

// A generous estimate: JSON with escapes.
std::uint64_t tokenizer_bytes(const text::TokenizerData* t) {
  if (t == nullptr) return 0;
  std::uint64_t n =
      t->hf_tokenizer_json.size() + t->hf_tokenizer_config.size() + t->chat_template.size();
  for (const std::string& s : t->tokens) n += 4 * s.size() + 64;
  for (const std::string& s : t->merges) n += 4 * s.size() + 32;
  return n;
}

}  // namespace

struct CheckpointWriter::State {
  std::string directory, staging;
  format::FormatId dtype = format::FormatId::f32;
  std::vector<arch::TensorRef> tensors;
  std::size_t current = 0;
  std::int64_t done = 0;  // values of the current tensor written so far
  // The sum of squares of the current tensor, and the part of it that F16 loses in small values.
  double energy = 0, lost = 0;
  std::unique_ptr<format::SafetensorsWriter> weights;
  std::vector<std::byte> encoded;
  // Rows so far of a matrix that is stored columns first.
  std::vector<float> turning;
  bool finished = false;

  // Of tensor `i`. Of a stack, the tensor of one matrix.
  std::string name(std::size_t i, std::int64_t matrix) const {
    return arch::with_indices(tensors[i].spec->hf, tensors[i].layer, matrix);
  }
  // Values of the current tensor that one tensor of the file holds, or its part of them.
  std::int64_t in_matrix() const { return tensors[current].elements() / tensors[current].stack; }
  // Of the tensor of the file that holds value `at` of the current tensor.
  std::string name_at(std::int64_t at) const { return name(current, at / in_matrix()); }
  // The next values of the current tensor.
  void encode_next(std::span<const float> values) {
    for (std::int64_t at = done; !values.empty();) {
      const std::int64_t left = in_matrix() - at % in_matrix();
      const std::size_t n = std::min(static_cast<std::size_t>(left), values.size());
      encode(values.first(n));
      values = values.subspan(n);
      at += static_cast<std::int64_t>(n);
    }
  }
  void add_tensors() {
    weights->set_metadata("format", "pt");
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const arch::TensorRef& t = tensors[i];
      const bool transposed = t.spec->to_gguf == arch::Transform::transpose;
      // Rows of all matrices that are stacked in this tensor.
      std::int64_t rows = t.rows / t.stack;
      while (i + 1 < tensors.size() && tensors[i + 1].layer == t.layer &&
             tensors[i + 1].spec->hf == t.spec->hf)
        rows += tensors[++i].rows;
      for (std::int64_t matrix = 0; matrix < t.stack; ++matrix)
        weights->add_tensor(name(i, matrix), dtype,
                            t.is_vector  ? std::vector{rows}
                            : transposed ? std::vector{t.cols, rows}
                                         : std::vector{rows, t.cols});
    }
  }
  bool may_write_card() const {
    std::error_code unreadable;
    const std::string path = directory + "/" + kCard;
    return !fs::exists(path, unreadable) || is_our_card(path);
  }
  void write_texts(const WrittenTexts& texts, const std::string& config) const {
    const text::TokenizerData* tokenizer = texts.tokenizer;
    if (tokenizer != nullptr) text::tokenizer_to_hf(*tokenizer, staging);
    const std::string generation = !texts.generation_config.empty() || tokenizer == nullptr
                                       ? texts.generation_config
                                       : generation_config_from(*tokenizer, config);
    if (!generation.empty()) core::write_text_file(staging + "/generation_config.json", generation);
    const std::string card = model_card(texts.description);
    if (!card.empty() && may_write_card()) core::write_text_file(staging + "/" + kCard, card);
    core::write_text_file(staging + "/config.json", config);
  }
  void encode(std::span<const float> values) {
    const format::QuantFormat& f = format::info(dtype);
    constexpr std::size_t kPiece = std::size_t{4} << 20;
    for (std::size_t i = 0; i < values.size(); i += kPiece) {
      const std::size_t m = std::min(kPiece, values.size() - i);
      encoded.resize(m * static_cast<std::size_t>(f.block_bytes));
      f.encode(values.data() + i, nullptr, encoded.data(), static_cast<std::int64_t>(m));
      weights->write(encoded);
    }
  }
  // What the dtype cannot store is refused: values beyond its range, and matrices so small that F16
  // would lose them.
  void require_values(std::span<const float> rows) {
    const arch::TensorRef& t = tensors[current];
    const format::QuantFormat& f = format::info(dtype);
    const std::string dtype_name(f.name);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (std::fabs(rows[i]) <= f.largest) continue;
      const std::int64_t at = done + static_cast<std::int64_t>(i);
      core::fail(core::ErrorKind::input, directory, ": tensor ", name_at(at), "[",
                 at % in_matrix() / t.cols, t.is_vector ? "" : ", " + std::to_string(at % t.cols),
                 "] is ", rows[i],
                 std::isfinite(rows[i])
                     ? ", which does not fit " + dtype_name + "; use " +
                           (std::fabs(rows[i]) <= format::info(format::FormatId::bf16).largest
                                ? "bf16 or f32"
                                : "f32")
                     : "; expected finite numbers");
    }
    if (f.least == 0 || t.is_vector) return;
    for (const float v : rows) {
      const auto square = [](double x) { return x * x; };
      energy += square(static_cast<double>(v));
      if (std::fabs(v) < f.least)
        lost += square(static_cast<double>(v - core::half_to_float(core::float_to_half(v))));
    }
    if (done + static_cast<std::int64_t>(rows.size()) < t.elements()) return;
    ESP_CHECK(lost <= format::kLostShare * energy, input, directory, ": tensor ", name_at(0),
              ": its values are too small for f16, which would lose them; use bf16 or f32");
    energy = lost = 0;
  }
  void skip_complete() {
    while (current < tensors.size() && done == tensors[current].elements()) {
      ++current;
      done = 0;
    }
  }
};

CheckpointWriter::CheckpointWriter(const std::string& directory, const arch::Arch& arch,
                                   const arch::ModelDims& dims, const WriteOptions& options,
                                   const WrittenTexts& texts)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.directory = directory;
  s.staging = directory + "/.incomplete";
  s.dtype = options.dtype;
  ESP_CHECK(format::info(options.dtype).is_float(), usage, "--dtype ",
            format::info(options.dtype).name, ": a Hugging Face directory holds f32, f16 or bf16");
  if (texts.tokenizer != nullptr)
    ESP_CHECK(static_cast<std::int64_t>(texts.tokenizer->tokens.size()) <= dims.vocab, input,
              directory, ": the tokenizer has ", texts.tokenizer->tokens.size(),
              " tokens but the model only ", dims.vocab, " embeddings");
  // Refuses before anything is changed.
  const std::string config =
      make_hf_config(arch, dims, texts.base_config, options.dtype, texts.tokenizer);

  core::make_directory(directory);
  std::error_code error;
  fs::remove_all(s.staging, error);  // the remains of a run that died
  core::make_directory(s.staging);

  try {
    s.tensors =
        arch::tensors(arch.written_as.empty() ? arch : *arch::arch_by_name(arch.written_as), dims);
    s.weights = std::make_unique<format::SafetensorsWriter>(s.staging, options.max_shard_bytes);
    s.add_tensors();
    core::require_free_disk(directory, s.weights->data_bytes() + tokenizer_bytes(texts.tokenizer) +
                                           (std::uint64_t{1} << 20));
    s.write_texts(texts, config);
    if (needs_remote_code(arch, dims))
      core::write_text_file(s.staging + "/" + kModelingFile, std::string(modeling_file()));
    s.weights->begin();
    s.skip_complete();
  } catch (...) {
    s.weights.reset();
    fs::remove_all(s.staging, error);
    throw;
  }
}

CheckpointWriter::~CheckpointWriter() {
  if (!state_ || state_->finished) return;
  state_->weights.reset();
  std::error_code ignored;
  fs::remove_all(state_->staging, ignored);
}

void CheckpointWriter::write_rows(arch::Role role, int layer, std::span<const float> rows) {
  State& s = *state_;
  ESP_CHECK(s.current < s.tensors.size(), internal, s.directory, ": rows of ",
            arch::role_name(role), " after the last tensor");
  const arch::TensorRef& t = s.tensors[s.current];
  ESP_CHECK(t.spec->role == role && (t.layer == layer || t.layer < 0), internal, s.directory,
            ": rows of ", arch::role_name(role), " of layer ", layer, " while ", s.name_at(s.done),
            " is expected");
  const std::int64_t n = static_cast<std::int64_t>(rows.size());
  ESP_CHECK(n % t.cols == 0 && n <= t.elements() - s.done, internal, s.directory, ": ", n,
            " values for ", s.name_at(s.done), " of which ", t.elements() - s.done, " are missing");
  s.require_values(rows);
  if (t.spec->to_gguf != arch::Transform::transpose) {
    s.encode_next(rows);
  } else {
    s.turning.insert(s.turning.end(), rows.begin(), rows.end());
    if (static_cast<std::int64_t>(s.turning.size()) == t.elements()) {
      std::vector<float> turned(s.turning.size());
      for (std::int64_t r = 0; r < t.rows; ++r)
        for (std::int64_t c = 0; c < t.cols; ++c)
          turned[static_cast<std::size_t>(c * t.rows + r)] =
              s.turning[static_cast<std::size_t>(r * t.cols + c)];
      s.turning.clear();
      s.encode(turned);
    }
  }
  s.done += n;
  s.skip_complete();
}

void CheckpointWriter::finish() {
  State& s = *state_;
  ESP_CHECK(s.current == s.tensors.size(), internal, s.directory, ": tensor ", s.name_at(s.done),
            " is incomplete");
  s.weights->finish();
  s.weights.reset();

  const std::vector<std::string> fresh = names_in(s.staging);
  std::vector<std::string> stale;
  for (const std::string& name : names_in(s.directory))
    if ((belongs_to_model(name) || (name == kCard && is_our_card(s.directory + "/" + name))) &&
        !std::binary_search(fresh.begin(), fresh.end(), name))
      stale.push_back(name);
  const auto remove = [&](const std::string& name) {
    std::error_code error;
    fs::remove_all(s.directory + "/" + name, error);
    ESP_CHECK(!error, input, s.directory, "/", name,
              ": cannot remove the old file: ", error.message());
  };
  const auto move = [&](const std::string& name) {
    std::error_code error;
    if (fs::is_directory(s.directory + "/" + name, error)) remove(name);
    fs::rename(s.staging + "/" + name, s.directory + "/" + name, error);
    ESP_CHECK(!error, input, s.directory, "/", name,
              ": cannot move the new file into place: ", error.message());
  };
  remove("config.json");
  for (const std::string& name : stale) remove(name);
  for (const std::string& name : fresh)
    if (name != "config.json") move(name);
  move("config.json");
  s.finished = true;
  std::error_code ignored;
  fs::remove_all(s.staging, ignored);
}

}  // namespace espalier::checkpoint
