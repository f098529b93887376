// SPDX-License-Identifier: Apache-2.0
// A model on disk in either storage form: a Hugging Face directory (config.json + safetensors +
// tokenizer) or a GGUF file.
//
// Tensors are addressed by (Role, layer) and always match the architecture's table, with rows in
// the Hugging Face order. Reading restores the permuted rows of a GGUF, and transposes matrices
// that Hugging Face files store columns first. Values are read through pread, a whole tensor or
// some rows at a time.
//
// Opening reads only headers. It lists everything that is wrong in one Error: unknown model_type or
// traits, and missing, extra or misshapen tensors.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/arch.h"
#include "checkpoint/description.h"
#include "core/progress.h"
#include "format/quant_format.h"
#include "text/tokenizer.h"

namespace espalier::checkpoint {

class Checkpoint {
 public:
  // `path`: a directory, a .gguf, or (with need_tensors = false) a bare config.json.
  // Error(unsupported) for a model that is read, but not computed yet (arch::require_computed).
  static Checkpoint open(const std::string& path, bool need_tensors = true);
  // The same without this error, for showing and predicting sizes.
  static Checkpoint survey(const std::string& path, bool need_tensors = true);
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;

  // Adds the blocks that stock readers need where the model has none (arch::gguf_dims_for), with
  // zeros for matrices. The model computes the same as before. For writing a GGUF.
  void fill_absent_blocks();
  // Leaves these rows of the vocabulary (sorted ids): of the tensors and of the tokenizer. Ids and
  // logits are those of a model whose vocabulary was cut to them. The files, and sha256(), are not.
  void keep_vocabulary(std::vector<std::int64_t> keep);
  // True for a zero-filled tensor added by fill_absent_blocks().
  bool is_filler(arch::Role role, int layer) const;

  const std::string& path() const;
  const arch::Arch& arch() const;
  const arch::ModelDims& dims() const;
  bool is_gguf() const;
  std::uint64_t file_bytes() const;  // size of all files that hold tensors
  bool has_tokenizer() const;
  const text::TokenizerData& tokenizer() const;  // Error(input) when there is none
  // The text of config.json. When the source is a GGUF, it is made from the metadata.
  const std::string& hf_config() const;
  const std::string& hf_generation_config() const;  // may be empty
  const std::string& name() const;                  // general.name, or model_name(path())
  const Description& description() const;
  // What a model made from it calls it: its name, or empty where it is a step between two models,
  // which a verb of ours wrote and nobody named.
  std::string parent_name() const;

  format::FormatId stored_format(arch::Role role, int layer) const;
  format::FormatId float_format() const;  // f16 or bf16 when all matrices are stored so, else f32
  // Reads rows [row_begin, row_begin + n) as float into out[n * cols]. A vector is one column of
  // `rows` rows. Error(input) with file, tensor and index for a value that is not finite.
  // Thread-safe.
  void read_rows(arch::Role role, int layer, std::int64_t row_begin, std::int64_t n,
                 float* out) const;
  std::vector<float> read(arch::Role role, int layer) const;  // the whole tensor
  // Whether the file holds the rows of this matrix in this format, each of them as a whole.
  bool stores(arch::Role role, int layer, format::FormatId format) const;
  // read_rows() of such a matrix as the bytes of its format.
  void read_stored(arch::Role role, int layer, std::int64_t row_begin, std::int64_t n,
                   std::byte* out) const;
  // Hash over config, tokenizer and tensor files. It identifies the model in manifests.
  std::string sha256() const;

 private:
  Checkpoint();
  struct State;
  std::unique_ptr<State> state_;
};

// Reads the vocabulary's matrices, for work that reads them in part or not at all. Error(input) as
// read_rows() for a value that is not finite.
void check_vocabulary_matrices(const Checkpoint& source);

// The tokenizer of a model that is made from `source`. nullptr when the source has none, and then a
// note says so.
const text::TokenizerData* carried_tokenizer(const Checkpoint& source);

// What a directory holds besides its tensors.
struct WrittenTexts {
  // The source's hf_config(), or empty. Its keys are kept unless sizes or dtype change them.
  std::string base_config = {};
  const text::TokenizerData* tokenizer = nullptr;
  std::string generation_config = {};  // empty: made from the tokenizer
  // Becomes README.md, unless the directory has one that somebody else wrote.
  Description description = {};
};
struct WriteOptions {
  format::FormatId dtype = format::FormatId::f32;  // f32, f16 or bf16; applies to every tensor
  std::uint64_t max_shard_bytes = std::uint64_t{5} << 30;
};

// Streams a Hugging Face directory. Tensors come in the order of arch::tensors(arch, dims), each in
// any number of row pieces. The directory appears as a whole: files get temporary names, and
// config.json is written last.
class CheckpointWriter {
 public:
  CheckpointWriter(const std::string& directory, const arch::Arch& arch,
                   const arch::ModelDims& dims, const WriteOptions& options,
                   const WrittenTexts& texts);
  ~CheckpointWriter();
  // Writes the next rows of the current tensor.
  void write_rows(arch::Role role, int layer, std::span<const float> rows);
  void finish();  // Error(internal) when a tensor is incomplete

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class Adapter;  // adapter.h
// `espalier import`: source -> Hugging Face directory, with the adapter's changes when there is
// one. Checks free disk space first.
void import_checkpoint(const Checkpoint& source, const std::string& directory,
                       const WriteOptions& options, const core::Progress& progress,
                       const Adapter* adapter = nullptr);

// The text of a config.json -> architecture and sizes. The Error lists every key that is missing,
// of the wrong type, or unknown and not harmless.
struct ParsedConfig {
  const arch::Arch* arch;
  arch::ModelDims dims;
  // For a GGUF: the divisors of dims.long_rope must still be read from its tensors.
  bool long_factors = false;
  // The tool that the config says has quantized the weights. Empty: none.
  std::string quantization = {};
};
ParsedConfig parse_hf_config(const std::string& json_text, const std::string& path);
// The family that a Hugging Face directory of this model is written as: `arch` itself, or another
// that computes the same. transformers refuses some llama models by that name; they become mistral
// or qwen2. Error(unsupported) when there is no such family.
const arch::Arch& hf_family_for(const arch::Arch& arch, const arch::ModelDims& dims);
bool has_hf_form(const arch::Arch& arch, const arch::ModelDims& dims);
// True when a directory of this model contains our code for transformers. Loading it needs
// trust_remote_code=True.
bool needs_remote_code(const arch::Arch& arch, const arch::ModelDims& dims);
// Architecture and sizes -> config.json, on top of `base` (may be empty). Writes sizes, eps, rope,
// tie_word_embeddings, the torch dtype name, and token ids when given.
std::string make_hf_config(const arch::Arch& arch, const arch::ModelDims& dims,
                           const std::string& base, format::FormatId dtype,
                           const text::TokenizerData* tokenizer);
// Converts to and from the GGUF metadata of the architecture (general.architecture, <arch>.*;
// without the tokenizer).
void dims_to_gguf(const arch::Arch& arch, const arch::ModelDims& dims, format::GgufWriter& writer);
ParsedConfig dims_from_gguf(const format::GgufHeader& header);

}  // namespace espalier::checkpoint
