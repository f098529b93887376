// SPDX-License-Identifier: Apache-2.0
// What is checked before a GGUF is written, and the loop over its tensors.
#include "export/export_gguf.h"

#include <algorithm>
#include <filesystem>
#include <span>

#include "arch/gguf_dims.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/parts.h"
#include "export/metadata.h"
#include "export/tensor_exporter.h"
#include "format/gguf.h"

namespace espalier::exporter {
namespace {

using quant::Rounding;

void refuse_source(const checkpoint::Checkpoint& source, const std::string& path) {
  const auto refuse = [&](const std::string& own) {
    ESP_CHECK(!core::same_file(own, path), usage, path,
              " is a file of the model being exported; choose another output");
  };
  for (const std::string& part : core::with_parts(source.path())) refuse(part);
  std::error_code error;
  if (std::filesystem::is_directory(source.path(), error))
    for (const auto& entry : std::filesystem::directory_iterator(source.path(), error))
      if (entry.path().extension() != ".gguf") refuse(entry.path().string());
  ESP_CHECK(!std::filesystem::is_directory(path, error), usage, path,
            " is a directory; name the .gguf to write");
}

// Checked before anything is written.
void require_statistics(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
                        const ExportOptions& options) {
  if (options.rounding == Rounding::nearest) return;
  ESP_CHECK(
      options.imatrix != nullptr, usage, quant::rounding_name(options.rounding),
      " rounding needs calibration statistics; give ",
      options.rounding == Rounding::gptq ? "--text FILE or --imatrix FILE" : "--imatrix FILE");
  std::string first;
  std::int64_t n_missing = 0, n_covered = 0;
  std::vector<std::string> without;
  const auto miss = [&](const arch::TensorRef& t, const char* what) {
    if (n_missing++ == 0) first = arch::gguf_name(t.spec->role, t.layer) + what;
  };
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
    const format::FormatId format = plan.format_of(t.spec->role, t.layer);
    if (t.is_vector || format::info(format).is_float() || source.is_filler(t.spec->role, t.layer) ||
        (options.rounded && t.layer >= 0) ||  // rounded with statistics of its own
        is_copied(source, t, format))
      continue;
    const quant::TensorStatistics* statistics = statistics_for(t, format, options);
    const bool is_table = t.spec->role == arch::Role::token_embd && !source.dims().tied;
    if (statistics == nullptr && is_table) continue;
    n_covered += statistics != nullptr;
    if (statistics == nullptr)
      without.push_back(arch::gguf_name(t.spec->role, t.layer));
    else if (static_cast<std::int64_t>(statistics->sum_squares.size()) != t.cols)
      miss(t, ": statistics of another width");
    else if (options.rounding == Rounding::gptq && statistics->gram == nullptr)
      miss(t, ": no second moments (calibrate with --gram)");
  }
  ESP_CHECK(n_missing == 0, input, "the calibration statistics do not cover this model for ",
            quant::rounding_name(options.rounding), " rounding: ", first,
            n_missing > 1 ? "; and " + std::to_string(n_missing - 1) + " more" : "");
  ESP_CHECK(n_covered > 0 || options.rounded || without.empty(), input,
            "the calibration statistics cover no matrix of this model that is rounded, not even ",
            without.front(), "; calibrate the model that you quantize");
  if (without.empty()) return;
  constexpr std::size_t kListed = 12;
  std::string list;
  for (std::size_t i = 0; i < std::min(without.size(), kListed); ++i)
    list += (i > 0 ? ", " : "") + without[i];
  if (without.size() > kListed)
    list += " and " + std::to_string(without.size() - kListed) + " more";
  core::note("without calibration statistics, and so rounded to nearest: " + list);
}

}  // namespace

void require_tokenizer(const checkpoint::Checkpoint& source, const ExportOptions& options) {
  if (options.no_tokenizer) return;
  ESP_CHECK(source.has_tokenizer(), input, source.path(), ": ",
            text::no_tokenizer_reason(source.path()),
            "; programs for text do not load a GGUF without one: add the model's tokenizer files, "
            "or give --no-tokenizer (no_tokenizer: true in a recipe)");
  static_cast<void>(source.tokenizer());  // refuses one of another model
}

std::int64_t planned_file_bytes(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
                                const ExportOptions& options) {
  format::GgufWriter writer("the output", 32, options.part_bytes);
  declare(source, plan, options, writer);
  return static_cast<std::int64_t>(writer.planned_bytes());
}

ExportResult export_gguf(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
                         const std::string& path, const ExportOptions& options,
                         const core::Progress& progress) {
  refuse_source(source, path);
  check_stock_readers(source, options);
  require_statistics(source, plan, options);
  const std::vector<arch::TensorRef> tensors = arch::tensors(source.arch(), source.dims());
  format::GgufWriter writer(path, 32, options.part_bytes);
  declare(source, plan, options, writer);
  ExportResult result;
  result.files = writer.paths();
  for (const std::string& file : result.files) refuse_source(source, file);
  result.planned_bytes = static_cast<std::int64_t>(writer.planned_bytes());
  result.bits_per_weight = plan::bits_per_weight(source.arch(), source.dims(), plan);
  writer.begin();  // checks free disk space
  for (const arch::RopeTensor& t : arch::rope_tensors(source.dims()))
    writer.write(std::as_bytes(std::span(t.values)));
  TensorExporter exporter(source, options, writer);
  std::int64_t done = 0;
  for (const arch::TensorRef& t : tensors) {
    const format::FormatId format = plan.format_of(t.spec->role, t.layer);
    if (progress)
      progress({.stage = "quantize",
                .done = done,
                .total = static_cast<std::int64_t>(tensors.size()),
                .unit = "tensors",
                .detail = arch::gguf_name(t.spec->role, t.layer) + " " +
                          std::string(format::info(format).name)});
    ++done;
    if (t.elements() == 0) continue;
    result.copied += exporter.write(t, format) ? 1 : 0;
    ExportResult::PerFormat& count = result.formats[std::string(format::info(format).name)];
    ++count.tensors;
    count.parameters += t.elements();
  }
  exporter.finish();
  writer.finish();
  if (progress)
    progress({.stage = "quantize", .done = done, .total = done, .unit = "tensors", .detail = ""});
  for (const std::string& file : result.files)
    result.file_bytes += static_cast<std::int64_t>(std::filesystem::file_size(file));
  ESP_CHECK(result.file_bytes == result.planned_bytes, check_failed, path, ": planned ",
            result.planned_bytes, " bytes, wrote ", result.file_bytes);
  return result;
}

}  // namespace espalier::exporter
