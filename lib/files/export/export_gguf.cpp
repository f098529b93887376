// SPDX-License-Identifier: Apache-2.0
// Writes a GGUF: rounds each matrix in pieces of rows and permutes rows where the format requires
// it.
#include "export/export_gguf.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <filesystem>
#include <mutex>
#include <numeric>
#include <span>

#include "arch/gguf_dims.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/parts.h"
#include "core/thread_pool.h"
#include "export/metadata.h"
#include "format/gguf.h"
#include "quant/range.h"

namespace espalier::exporter {
namespace {

using quant::Rounding;

// Floats that are read at a time. What is rounded by itself stays in the cache meanwhile.
constexpr std::int64_t kPieceValues = std::int64_t{1} << 23, kPlainValues = std::int64_t{1} << 20;

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

// The statistics with which each matrix is rounded. Checked before anything is written.
const quant::TensorStatistics* statistics_for(const arch::TensorRef& t, format::FormatId format,
                                              const ExportOptions& options) {
  if (options.rounding == Rounding::nearest || t.is_vector || format::info(format).is_float() ||
      options.imatrix == nullptr)
    return nullptr;
  return options.imatrix->find(t.spec->role, t.layer);
}
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
        (options.rounded && t.layer >= 0))  // rounded with statistics of its own
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

// Reorders rows from the Hugging Face order to the GGUF order, in place. `rows` holds whole heads,
// with `width` elements per row.
template <class T>
void permute_rows(std::vector<T>& rows, std::int64_t width, std::int64_t head_dim) {
  const auto n = static_cast<std::int64_t>(rows.size()) / width;
  std::vector<T> out(rows.size());
  for (std::int64_t r = 0; r < n; ++r) {
    const T* from = rows.data() + arch::rope_unpermuted_row(r, head_dim) * width;
    std::copy(from, from + width, out.data() + r * width);
  }
  rows = std::move(out);
}

class TensorExporter {
 public:
  TensorExporter(const checkpoint::Checkpoint& source, const ExportOptions& options,
                 format::GgufWriter& writer)
      : source_(source),
        target_(arch::gguf_family_for(source.arch(), source.dims())),
        options_(options),
        writer_(writer),
        pool_(options.threads),
        query_factor_(static_cast<float>(arch::attention_scale(source.dims()) /
                                         arch::gguf_attention_scale(target_, source.dims()))) {
    if (std::fabs(query_factor_ - 1.0f) < 1e-6f) query_factor_ = 1;
    ESP_CHECK(
        query_factor_ == 1 || !options.rounded || query_factor_role() == arch::Role::attn_q_norm,
        unsupported, source.path(),
        ": the attention scale has to be folded into q, which rounding layer by layer does not do; "
        "quantize without --text");
  }

  void write(const arch::TensorRef& t, format::FormatId format) {
    const arch::Role role = t.spec->role;
    const arch::Transform transform = arch::find_spec(target_, role)->to_gguf;
    if (t.is_vector) {
      std::vector<float> values = source_.read(role, t.layer);
      if (transform == arch::Transform::rope_permute)
        permute_rows(values, 1, source_.dims().head_dim);
      if (transform == arch::Transform::plus_one)
        for (float& v : values) v += 1.0f;
      fold(role, values);
      writer_.write(quant::round_matrix(values, 1, t.rows, format, {}, pool_));
      return;
    }
    const bool permuted = transform == arch::Transform::rope_permute;
    const quant::TensorStatistics* statistics = statistics_for(t, format, options_);
    const Rounding rounding = statistics == nullptr ? Rounding::nearest : options_.rounding;
    if (options_.rounded && write_rounded(t, format, permuted)) return;
    const std::int64_t unit =
        permuted ? std::lcm(quant::kRowChunk, source_.dims().head_dim) : quant::kRowChunk;
    const std::int64_t values = rounding == Rounding::gptq ? kPieceValues : kPlainValues;
    const std::int64_t piece =
        std::max(unit, values / std::max<std::int64_t>(t.cols, 1) / unit * unit);
    std::vector<float> rows;
    quant::RangeCheck range(t.cols, format);
    for (std::int64_t begin = 0; begin < t.rows; begin += piece) {
      const std::int64_t n = std::min(piece, t.rows - begin);
      rows.resize(static_cast<std::size_t>(n * t.cols));
      read(t, begin, rows);
      if (permuted) permute_rows(rows, t.cols, source_.dims().head_dim);
      fold(role, rows);
      range.add(rows, pool_);
      require_held(t, range.beyond());
      try {
        writer_.write(
            quant::round_matrix(rows, n, t.cols, format, {rounding, statistics, &cache_}, pool_));
      } catch (const core::Error& e) {
        core::fail(e.kind(), arch::gguf_name(role, t.layer), ", rows from ", begin, ": ", e.what());
      }
    }
    require_held(t, range.refusal());
  }

 private:
  // Rows from `begin` on, on all threads.
  void read(const arch::TensorRef& t, std::int64_t begin, std::vector<float>& rows) {
    std::mutex lock;
    std::exception_ptr failed;
    pool_.split(static_cast<std::int64_t>(rows.size()) / t.cols, source_.dims().head_dim,
                [&](std::int64_t first, std::int64_t end) {
                  try {
                    source_.read_rows(t.spec->role, t.layer, begin + first, end - first,
                                      rows.data() + first * t.cols);
                  } catch (...) {
                    const std::lock_guard guard(lock);
                    if (!failed) failed = std::current_exception();
                  }
                });
    if (failed) std::rethrow_exception(failed);
  }
  void require_held(const arch::TensorRef& t, const std::string& refusal) const {
    ESP_CHECK(refusal.empty(), input, source_.path(), ": tensor ",
              arch::gguf_name(t.spec->role, t.layer), ": ", refusal);
  }
  // Where stock readers scale attention differently, q compensates: the gain of its norm, or else
  // its rows.
  arch::Role query_factor_role() const {
    return arch::find_spec(target_, arch::Role::attn_q_norm) != nullptr ? arch::Role::attn_q_norm
                                                                        : arch::Role::attn_q;
  }
  void fold(arch::Role role, std::vector<float>& values) const {
    if (query_factor_ == 1) return;
    if (role != query_factor_role() &&
        !(role == arch::Role::attn_q_bias && query_factor_role() == arch::Role::attn_q))
      return;
    for (float& v : values) v *= query_factor_;
  }
  bool write_rounded(const arch::TensorRef& t, format::FormatId format, bool permuted) {
    std::optional<std::vector<std::byte>> bytes;
    try {
      bytes = options_.rounded(t.spec->role, t.layer);
    } catch (const core::Error& e) {
      core::fail(e.kind(), arch::gguf_name(t.spec->role, t.layer), ": ", e.what());
    }
    if (!bytes) return false;
    ESP_CHECK(
        static_cast<std::int64_t>(bytes->size()) == format::matrix_bytes(format, t.rows, t.cols),
        internal, arch::gguf_name(t.spec->role, t.layer), ": ", bytes->size(), " bytes");
    if (permuted)
      permute_rows(*bytes, format::matrix_bytes(format, 1, t.cols), source_.dims().head_dim);
    writer_.write(*bytes);
    return true;
  }

  const checkpoint::Checkpoint& source_;
  const arch::Arch& target_;
  const ExportOptions& options_;
  format::GgufWriter& writer_;
  core::ThreadPool pool_;
  float query_factor_;
  quant::FactorCache cache_;
};

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
    exporter.write(t, format);
    ExportResult::PerFormat& count = result.formats[std::string(format::info(format).name)];
    ++count.tensors;
    count.parameters += t.elements();
  }
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
