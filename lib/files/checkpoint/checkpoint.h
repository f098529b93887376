// SPDX-License-Identifier: Apache-2.0
// A model on disk, whatever it is stored as: a Hugging Face directory (config.json + safetensors +
// tokenizer) or a GGUF file. Tensors are addressed by (Role, layer) and always come as the
// architecture's table has them, rows in the Hugging Face order (a GGUF's permuted rows are put
// back, matrices that Hugging Face files store columns first are turned); values are read a tensor,
// or some rows, at a time through pread. Opening reads headers only and lists everything that is
// wrong (unknown model_type or traits, missing, extra or misshapen tensors) in one Error.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/arch.h"
#include "core/progress.h"
#include "format/quant_format.h"
#include "text/tokenizer.h"

namespace espalier::checkpoint {

class Checkpoint {
 public:
  // `path`: a directory, a .gguf, or (need_tensors = false) a bare config.json.
  static Checkpoint open(const std::string& path, bool need_tensors = true);
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;

  // Before a GGUF is made of it: blocks that stock readers want where the model has none
  // (arch::gguf_sizes) are there from now on, with zeros for matrices. The model computes what it
  // did.
  void fill_absent_blocks();
  bool filled(arch::Role role,
              int layer) const;  // not the model's own: it came by fill_absent_blocks()

  const std::string& path() const;
  const arch::Arch& arch() const;
  const arch::ModelDims& dims() const;
  bool is_gguf() const;
  std::uint64_t file_bytes() const;  // of all files that hold tensors
  bool has_tokenizer() const;
  const text::TokenizerData& tokenizer() const;  // Error(input) when there is none
  const std::string& hf_config()
      const;  // config.json text (made from the metadata when the source is a GGUF)
  const std::string& hf_generation_config() const;  // may be empty
  const std::string& name() const;                  // general.name or the directory's name

  format::FormatId stored_format(arch::Role role, int layer) const;
  format::FormatId float_format() const;  // f16 or bf16 when all matrices are stored so, else f32
  // Rows [row_begin, row_begin + n) as float into out[n * cols]; a vector is one column of `rows`
  // rows. Thread-safe.
  void read_rows(arch::Role role, int layer, std::int64_t row_begin, std::int64_t n,
                 float* out) const;
  std::vector<float> read(arch::Role role, int layer) const;  // the whole tensor
  std::string sha256()
      const;  // over config, tokenizer and tensor files; identifies the model in manifests

 private:
  Checkpoint();
  struct State;
  std::unique_ptr<State> state_;
};

struct WriteOptions {
  format::FormatId dtype = format::FormatId::f32;  // f32, f16 or bf16, for every tensor
  std::uint64_t max_shard_bytes = std::uint64_t{5} << 30;
};

// Streams a Hugging Face directory: tensors in the order of arch::tensors(arch, dims), each in any
// number of row pieces. The directory appears whole: files are written under temporary names and
// config.json last.
class CheckpointWriter {
 public:
  // `base_config`: the source's hf_config(), whose keys survive unless sizes or dtype change them.
  CheckpointWriter(const std::string& directory, const arch::Arch& arch,
                   const arch::ModelDims& dims, const WriteOptions& options,
                   const std::string& base_config, const text::TokenizerData* tokenizer,
                   const std::string& generation_config = "");
  ~CheckpointWriter();
  void write_rows(arch::Role role, int layer,
                  std::span<const float> rows);  // next rows of the current tensor
  void finish();                                 // Error(internal) when a tensor is incomplete

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// `espalier import`: source -> Hugging Face directory. Free disk is checked first.
void import_checkpoint(const Checkpoint& source, const std::string& directory,
                       const WriteOptions& options, const core::Progress& progress);

// config.json text -> arch and sizes. Error listing every key that is missing, of the wrong type,
// or unknown and not harmless.
struct ParsedConfig {
  const arch::Arch* arch;
  arch::ModelDims dims;
  bool long_factors =
      false;  // of a GGUF: the divisors of dims.long_rope are still to be read from its tensors
};
ParsedConfig parse_hf_config(const std::string& json_text, const std::string& path);
// The family that a Hugging Face directory of this model is written as: `arch` itself, or one that
// computes the same for a llama that transformers refuses by that name (mistral, qwen2).
// Error(unsupported) when there is none.
const arch::Arch& hf_target(const arch::Arch& arch, const arch::ModelDims& dims);
bool has_hf_form(const arch::Arch& arch, const arch::ModelDims& dims);
// A directory of this model holds code of ours for transformers, which must be told
// trust_remote_code=True.
bool carries_code(const arch::Arch& arch, const arch::ModelDims& dims);
// The reverse, on top of `base` (may be empty): sizes, eps, rope, tie_word_embeddings, torch dtype
// name, token ids when given.
std::string make_hf_config(const arch::Arch& arch, const arch::ModelDims& dims,
                           const std::string& base, format::FormatId dtype,
                           const text::TokenizerData* tokenizer);
// GGUF metadata of the architecture (general.architecture, <arch>.*; not the tokenizer), and back.
void dims_to_gguf(const arch::Arch& arch, const arch::ModelDims& dims, format::GgufWriter& writer);
ParsedConfig dims_from_gguf(const format::GgufHeader& header);

}  // namespace espalier::checkpoint
