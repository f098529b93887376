// SPDX-License-Identifier: Apache-2.0
// Three ways to the bytes of a matrix: as it is stored, rounded row by row, and by GPTQ.
#include "export/tensor_exporter.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>

#include "arch/gguf_dims.h"
#include "core/error.h"
#include "core/profile.h"

namespace espalier::exporter {
namespace {

using quant::Rounding;

// Values of a piece of GPTQ, of a job, and of the slices of a job, which stay in a processor's
// cache from reading to rounding.
constexpr std::int64_t kGptqValues = std::int64_t{1} << 23, kJobValues = std::int64_t{1} << 19,
                       kSliceValues = std::int64_t{1} << 15;

// From the Hugging Face order of rows to the GGUF order. There are whole heads, with `width`
// elements a row.
template <class T>
void permute_rows(const std::vector<T>& rows, std::int64_t width, std::int64_t head_dim, T* out) {
  const auto n = static_cast<std::int64_t>(rows.size()) / width;
  for (std::int64_t r = 0; r < n; ++r) {
    const T* from = rows.data() + arch::rope_unpermuted_row(r, head_dim) * width;
    std::copy(from, from + width, out + r * width);
  }
}
template <class T>
void permute_rows(std::vector<T>& rows, std::int64_t width, std::int64_t head_dim) {
  std::vector<T> out(rows.size());
  permute_rows(rows, width, head_dim, out.data());
  rows = std::move(out);
}

// Rows of about so many values, in whole units.
std::int64_t piece_rows(std::int64_t values, std::int64_t cols, std::int64_t unit) {
  return std::max(unit, values / std::max<std::int64_t>(cols, 1) / unit * unit);
}

}  // namespace

QueryFactor::QueryFactor(const checkpoint::Checkpoint& source, const arch::Arch& target)
    : role_(arch::find_spec(target, arch::Role::attn_q_norm) != nullptr ? arch::Role::attn_q_norm
                                                                        : arch::Role::attn_q),
      factor_(static_cast<float>(arch::attention_scale(source.dims()) /
                                 arch::gguf_attention_scale(target, source.dims()))) {
  if (std::fabs(factor_ - 1.0f) < 1e-6f) factor_ = 1;
}

bool QueryFactor::changes(arch::Role role) const {
  return factor_ != 1 &&
         (role == role_ || (role == arch::Role::attn_q_bias && role_ == arch::Role::attn_q));
}

void QueryFactor::fold(arch::Role role, std::vector<float>& values) const {
  if (!changes(role)) return;
  for (float& v : values) v *= factor_;
}

const quant::TensorStatistics* statistics_for(const arch::TensorRef& t, format::FormatId format,
                                              const ExportOptions& options) {
  if (options.rounding == Rounding::nearest || t.is_vector || format::info(format).is_float() ||
      options.imatrix == nullptr)
    return nullptr;
  return options.imatrix->find(t.spec->role, t.layer);
}

bool is_copied(const checkpoint::Checkpoint& source, const arch::TensorRef& t,
               format::FormatId format) {
  if (t.is_vector || t.elements() == 0 || !source.stores(t.spec->role, t.layer, format))
    return false;
  const arch::Arch& target = arch::gguf_family_for(source.arch(), source.dims());
  const arch::Transform to_gguf = arch::find_spec(target, t.spec->role)->to_gguf;
  return to_gguf != arch::Transform::plus_one && !QueryFactor(source, target).changes(t.spec->role);
}

// What the jobs of a matrix share. `total` is of the thread that uses their results.
struct TensorExporter::Matrix {
  const arch::TensorRef& t;
  format::FormatId format;
  bool permuted;
  quant::PlainRounding rounding;
  std::int64_t unit;  // rows of a slice are a multiple
  quant::RangeCheck total;
};

TensorExporter::TensorExporter(const checkpoint::Checkpoint& source, const ExportOptions& options,
                               format::GgufWriter& writer)
    : source_(source),
      target_(arch::gguf_family_for(source.arch(), source.dims())),
      options_(options),
      writer_(writer),
      pool_(options.threads),
      query_(source, target_),
      jobs_(pool_.size()) {
  ESP_CHECK(
      query_.is_one() || !options.rounded || query_.in_norm(), unsupported, source.path(),
      ": the attention scale has to be folded into q, which rounding layer by layer does not do; "
      "quantize without --text");
}

bool TensorExporter::write(const arch::TensorRef& t, format::FormatId format) {
  if (t.is_vector) {
    write_vector(t, format);
    return false;
  }
  const bool permuted =
      arch::find_spec(target_, t.spec->role)->to_gguf == arch::Transform::rope_permute;
  if (options_.rounded && write_rounded(t, format, permuted)) return false;
  if (is_copied(source_, t, format)) {
    copy(t, format, permuted);
    return true;
  }
  if (options_.rounding == Rounding::gptq && statistics_for(t, format, options_) != nullptr)
    round_by_gptq(t, format, permuted);
  else
    round_by_rows(t, format, permuted);
  return false;
}

void TensorExporter::finish() {
  const core::Section section("rounding");
  jobs_.finish();
}

void TensorExporter::write_vector(const arch::TensorRef& t, format::FormatId format) {
  jobs_.give(
      [this, &t, format](Bytes& out) {
        const arch::Role role = t.spec->role;
        const arch::Transform transform = arch::find_spec(target_, role)->to_gguf;
        std::vector<float> values = source_.read(role, t.layer);
        if (transform == arch::Transform::rope_permute)
          permute_rows(values, 1, source_.dims().head_dim);
        if (transform == arch::Transform::plus_one)
          for (float& v : values) v += 1.0f;
        query_.fold(role, values);
        core::ThreadPool alone(1);
        out = quant::round_matrix(values, 1, t.rows, format, {}, alone);
      },
      [this](const Bytes& bytes) { writer_.write(bytes); });
}

bool TensorExporter::write_rounded(const arch::TensorRef& t, format::FormatId format,
                                   bool permuted) {
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
  finish();
  writer_.write(*bytes);
  return true;
}

void TensorExporter::copy(const arch::TensorRef& t, format::FormatId format, bool permuted) {
  const core::Section section("rounding");
  const std::int64_t head_dim = source_.dims().head_dim,
                     piece = piece_rows(kJobValues, t.cols, permuted ? head_dim : 1),
                     row_bytes = format::matrix_bytes(format, 1, t.cols);
  for (std::int64_t begin = 0; begin < t.rows; begin += piece) {
    const std::int64_t n = std::min(piece, t.rows - begin);
    jobs_.give(
        [this, &t, permuted, head_dim, row_bytes, begin, n](Bytes& out) {
          out.resize(static_cast<std::size_t>(n * row_bytes));
          source_.read_stored(t.spec->role, t.layer, begin, n, out.data());
          if (permuted) permute_rows(out, row_bytes, head_dim);
        },
        [this](const Bytes& bytes) { writer_.write(bytes); });
  }
}

void TensorExporter::round_by_rows(const arch::TensorRef& t, format::FormatId format,
                                   bool permuted) {
  const core::Section section("rounding");
  const auto m =
      std::make_shared<Matrix>(Matrix{t,
                                      format,
                                      permuted,
                                      {t.cols, format, statistics_for(t, format, options_)},
                                      1,
                                      {t.cols, format}});
  m->unit = std::lcm(m->rounding.rows_together(), permuted ? source_.dims().head_dim : 1);
  const std::int64_t piece = piece_rows(kJobValues, t.cols, m->unit);
  for (std::int64_t begin = 0; begin < t.rows; begin += piece) {
    const std::int64_t n = std::min(piece, t.rows - begin);
    const auto range = std::make_shared<quant::RangeCheck>(t.cols, format, begin);
    jobs_.give([this, m, range, begin, n](Bytes& out) { round_rows(*m, begin, n, *range, out); },
               [this, m, range, begin, n](const Bytes& bytes) {
                 m->total.add(*range);
                 require_held(m->t, m->total.beyond());
                 writer_.write(bytes);
                 if (begin + n == m->t.rows) require_held(m->t, m->total.refusal());
               });
  }
}

// On a thread of its own, which uses the memory of a slice for all that follow.
void TensorExporter::round_rows(const Matrix& m, std::int64_t begin, std::int64_t n,
                                quant::RangeCheck& range, Bytes& out) const {
  static thread_local std::vector<float> rows, permuted;
  const std::int64_t cols = m.t.cols, slice = piece_rows(kSliceValues, cols, m.unit),
                     row_bytes = format::matrix_bytes(m.format, 1, cols);
  out.resize(static_cast<std::size_t>(n * row_bytes));
  for (std::int64_t row = 0; row < n; row += slice) {
    const std::int64_t some = std::min(slice, n - row);
    rows.resize(static_cast<std::size_t>(some * cols));
    source_.read_rows(m.t.spec->role, m.t.layer, begin + row, some, rows.data());
    if (m.permuted) {
      permuted.resize(rows.size());
      permute_rows(rows, cols, source_.dims().head_dim, permuted.data());
      std::swap(rows, permuted);
    }
    query_.fold(m.t.spec->role, rows);
    range.add(rows);
    if (!range.beyond().empty()) return;  // refused when its turn comes
    m.rounding.encode(rows, out.data() + row * row_bytes);
  }
}

void TensorExporter::round_by_gptq(const arch::TensorRef& t, format::FormatId format,
                                   bool permuted) {
  finish();
  const arch::Role role = t.spec->role;
  const std::int64_t head_dim = source_.dims().head_dim,
                     piece = piece_rows(
                         kGptqValues, t.cols,
                         permuted ? std::lcm(quant::kRowChunk, head_dim) : quant::kRowChunk);
  std::vector<float> rows;
  quant::RangeCheck range(t.cols, format);
  for (std::int64_t begin = 0; begin < t.rows; begin += piece) {
    const std::int64_t n = std::min(piece, t.rows - begin);
    rows.resize(static_cast<std::size_t>(n * t.cols));
    read(t, begin, rows);
    if (permuted) permute_rows(rows, t.cols, head_dim);
    query_.fold(role, rows);
    range.add(rows, pool_);
    require_held(t, range.beyond());
    try {
      writer_.write(quant::round_matrix(
          rows, n, t.cols, format, {Rounding::gptq, statistics_for(t, format, options_), &cache_},
          pool_));
    } catch (const core::Error& e) {
      core::fail(e.kind(), arch::gguf_name(role, t.layer), ", rows from ", begin, ": ", e.what());
    }
  }
  require_held(t, range.refusal());
}

// Rows from `begin` on, on all threads.
void TensorExporter::read(const arch::TensorRef& t, std::int64_t begin, std::vector<float>& rows) {
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

void TensorExporter::require_held(const arch::TensorRef& t, const std::string& refusal) const {
  ESP_CHECK(refusal.empty(), input, source_.path(), ": tensor ",
            arch::gguf_name(t.spec->role, t.layer), ": ", refusal);
}

}  // namespace espalier::exporter
