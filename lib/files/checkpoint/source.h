// SPDX-License-Identifier: Apache-2.0
// Internals of Checkpoint: the result of opening a GGUF file or a Hugging Face directory. Both give
// the same list of stored tensors, so that reading does not depend on the origin.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arch/arch.h"
#include "checkpoint/description.h"
#include "checkpoint/stored_values.h"
#include "core/file.h"
#include "format/gguf_files.h"
#include "format/safetensors.h"
#include "text/tokenizer.h"

namespace espalier::checkpoint {

// Rows that lie side by side in a file.
struct Piece {
  const core::FileReader* file = nullptr;
  std::uint64_t offset = 0;
  std::int64_t rows = 0;
  std::string name = {};       // of the tensor in the file
  std::int64_t first_row = 0;  // in that tensor
};

struct StoredTensor {
  StoredValues values = {};
  std::int64_t rows = 0, cols = 0;  // as in the architecture's table; a vector has cols 1
  bool is_vector = false;
  // How the file differs from the table. Reading undoes it.
  arch::Transform transform = arch::Transform::none;
  float filler = 0;
  std::vector<Piece> pieces = {};  // in the order of rows. None: every value is `filler`
};

struct Source;
// Why a stored tensor has no place in the model, to stand behind its name: its layer is beyond the
// last one, or the architecture has no such tensor.
std::string not_part_of(const Source& source, std::string_view name);

// The folder of a model directory that holds chat templates with names, NAME.jinja.
inline constexpr const char* kTemplateFolder = "additional_chat_templates";
// The file that makes a directory an adapter of PEFT (adapter.h).
inline constexpr const char* kAdapterConfig = "adapter_config.json";

struct Source {
  std::string path, name;
  bool is_step = false;  // a folder that prune, distil and so on wrote, without a name of its own
  Description description;
  const arch::Arch* arch = nullptr;
  arch::ModelDims dims;
  bool is_gguf = false;
  std::uint64_t file_bytes = 0;
  bool has_tokenizer = false;
  // Called on first use, because many stages never need the tokenizer.
  std::function<text::TokenizerData()> load_tokenizer;
  std::string hf_config, hf_generation_config;
  std::string part_of;       // the model_type of which this is the text part, or empty
  bool says_tied = false;    // then: whether its config says if the output is the embedding
  std::string quantization;  // the tool that config.json says has quantized the weights, or empty
  std::vector<std::string> hashed_files;  // sorted; of a directory
  std::map<std::pair<arch::Role, int>, StoredTensor> tensors;

  std::shared_ptr<const format::GgufFiles> gguf;
  std::unique_ptr<format::SafetensorsSet> safetensors;
};

bool file_exists(const std::string& path);  // false also when the path is not accessible

Source open_gguf(const std::string& path);
Source open_hf_directory(const std::string& directory, bool need_tensors);
Source open_bare_config(const std::string& path);

}  // namespace espalier::checkpoint
