// SPDX-License-Identifier: Apache-2.0
// Checkpoint + QuantPlan -> GGUF that stock llama.cpp loads, with tokenizer and chat template. The
// planned bytes equal the bytes of the file. Tensors are read, rounded and written in pieces of
// rows.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"
#include "plan/quant_plan.h"
#include "quant/imatrix.h"
#include "quant/rounding.h"

namespace espalier::exporter {

// Who reads the file. What stock llama.cpp would compute otherwise is always refused. What it would
// only tokenize otherwise is said for `both` and refused for `llama_cpp`.
enum class Compat : std::uint8_t { both, llama_cpp, espalier };

struct ExportOptions {
  // imatrix and gptq need statistics. Matrices in a block format that have none are rounded to
  // nearest, and a note lists them: llama-imatrix leaves out the output matrix. An untied
  // token_embd is only a lookup table without such statistics, and is not listed. A tied token_embd
  // uses the statistics of the output matrix.
  quant::Rounding rounding = quant::Rounding::nearest;
  const quant::Imatrix* imatrix = nullptr;
  // When set, it is asked first for the bytes of every matrix, in file order. It returns the matrix
  // in the plan's format, with rows in the source's order. Matrices of layers then need no
  // statistics here.
  std::function<std::optional<std::vector<std::byte>>(arch::Role, int layer)> rounded;
  // Additional general.* / espalier.* string metadata (hashes of the lineage).
  std::map<std::string, std::string> provenance;
  bool no_tokenizer = false;  // the file gets none; otherwise a model without one is refused
  // A larger file becomes a split model with parts of at most so many bytes. 0: never.
  std::uint64_t part_bytes = 0;
  Compat compat = Compat::both;
  int threads = 0;
};
// Unless options.no_tokenizer: Error(input) when the source has no tokenizer, or one with more
// tokens than embeddings. The functions below begin with it; who works before them calls it first.
void require_tokenizer(const checkpoint::Checkpoint& source, const ExportOptions& options);
// Says or refuses what stock llama.cpp would tokenize otherwise (options.compat).
void check_stock_readers(const checkpoint::Checkpoint& source, const ExportOptions& options);
struct ExportResult {
  std::int64_t file_bytes = 0, planned_bytes = 0;
  double bits_per_weight = 0;
  struct PerFormat {
    std::int64_t tensors = 0, parameters = 0;
  };
  std::map<std::string, PerFormat> formats;
  std::int64_t copied = 0;         // matrices, as is_copied() says
  std::vector<std::string> files;  // more than one: the parts of a split model
};

// Whether a matrix that shall have this format is copied as it is stored: it has the format
// already, and the file's rows are the source's. Unless it is rounded layer by layer, export_gguf()
// does so, because no rounding changes less.
bool is_copied(const checkpoint::Checkpoint& source, const arch::TensorRef& t,
               format::FormatId format);

// The size of the whole file, header and padding included, computed before anything is rounded. Of
// a split model the size of all parts.
std::int64_t planned_file_bytes(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
                                const ExportOptions& options);
// Refuses to overwrite any of the source's own files. Checks free disk space first.
ExportResult export_gguf(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
                         const std::string& path, const ExportOptions& options,
                         const core::Progress& progress);

}  // namespace espalier::exporter
