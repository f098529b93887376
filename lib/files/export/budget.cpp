// SPDX-License-Identifier: Apache-2.0
// Chooses formats for a budget. Errors are measured on at most kSampleRows evenly spaced rows of
// each tensor. Rows of one matrix behave alike, and the choice needs only the order of magnitude.
// Whether a format can hold a tensor depends on every value, so all of them are read once.
#include "export/budget.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/notes.h"
#include "core/thread_pool.h"
#include "core/units.h"
#include "quant/range.h"
#include "quant/rounding.h"

namespace espalier::exporter {
namespace {

constexpr std::int64_t kSampleRows = 96;
constexpr std::int64_t kPieceRead = std::int64_t{1} << 22;  // 16 MB of floats at a time

bool fits(const format::QuantFormat& f, const arch::TensorRef& t) { return t.cols % f.block == 0; }

std::vector<format::FormatId> candidates_for(const arch::TensorRef& t,
                                             const BudgetOptions& budget) {
  const auto fixed = [&](const std::string& name) { return budget.overrides.find(name); };
  const std::string role(arch::role_name(t.spec->role));
  auto it = t.layer >= 0 ? fixed(role + "." + std::to_string(t.layer)) : budget.overrides.end();
  if (it == budget.overrides.end()) it = fixed(role);
  std::vector<format::FormatId> out;
  for (const format::QuantFormat& f : format::all_formats()) {
    if (it != budget.overrides.end()) {
      if (f.id == it->second) out.push_back(f.id);
      continue;
    }
    if (plan::stays_f32(t.spec->role)) {
      if (f.id == format::FormatId::f32) out.push_back(f.id);
      continue;
    }
    const bool wanted = budget.candidates.empty()
                            ? f.in_budget && !f.is_float()
                            : std::find(budget.candidates.begin(), budget.candidates.end(), f.id) !=
                                  budget.candidates.end();
    if (wanted && fits(f, t)) out.push_back(f.id);
  }
  // A row length that fits no block format is stored as F16. The plan lists it, and its bytes count
  // against the budget.
  if (out.empty() && it == budget.overrides.end()) out.push_back(format::FormatId::f16);
  ESP_CHECK(!out.empty() && fits(format::info(out.front()), t), unsupported, "tensor ",
            arch::gguf_name(t.spec->role, t.layer), " has rows of ", t.cols,
            ", which the chosen format cannot hold");
  return out;
}

// Most of the energy of logits is a shift that all tokens share and softmax ignores. Relative to
// that energy an output error looks small, so it is counted once per branch. Without statistics the
// error is relative to the energy of the weights, which has no such shift.
double weight_of(const arch::TensorRef& t, const arch::ModelDims& dims, bool has_statistics) {
  const bool gives_logits =
      t.spec->role == arch::Role::output || (t.spec->role == arch::Role::token_embd && dims.tied);
  return gives_logits && has_statistics ? 2.0 * static_cast<double>(dims.n_layers()) : 1.0;
}

std::int64_t padded_bytes(const arch::TensorRef& t, format::FormatId format) {
  return (plan::tensor_bytes(t, format) + 31) / 32 * 32;
}

// Tensor data as it lies in the file, with every tensor padded to GGUF's alignment.
std::int64_t padded_bytes(const std::vector<arch::TensorRef>& tensors,
                          const plan::QuantPlan& plan) {
  std::int64_t n = 0;
  for (const arch::TensorRef& t : tensors)
    n += padded_bytes(t,
                      t.is_vector ? format::FormatId::f32 : plan.format_of(t.spec->role, t.layer));
  return n;
}

std::vector<float> sample_rows(const checkpoint::Checkpoint& source, const arch::TensorRef& t,
                               std::int64_t& n) {
  n = std::min(t.rows, kSampleRows);
  std::vector<float> out(static_cast<std::size_t>(n * t.cols));
  for (std::int64_t i = 0; i < n; ++i)
    source.read_rows(t.spec->role, t.layer, i * t.rows / n, 1, out.data() + i * t.cols);
  return out;
}

// The candidates that can hold the tensor, found by reading all of it. One pass usually accepts
// them all. Formats in doubt are checked separately.
std::vector<format::FormatId> held(const checkpoint::Checkpoint& source, const arch::TensorRef& t,
                                   const std::vector<format::FormatId>& candidates,
                                   core::ThreadPool& pool) {
  const auto for_pieces = [&](const auto& use) {
    const std::int64_t piece = std::max<std::int64_t>(1, kPieceRead / t.cols);
    std::vector<float> rows;
    for (std::int64_t begin = 0; begin < t.rows; begin += piece) {
      const std::int64_t n = std::min(piece, t.rows - begin);
      rows.resize(static_cast<std::size_t>(n * t.cols));
      source.read_rows(t.spec->role, t.layer, begin, n, rows.data());
      use(rows);
    }
  };
  quant::Magnitudes magnitudes;
  for_pieces([&](const std::vector<float>& rows) { magnitudes.add(rows); });
  std::vector<format::FormatId> out;
  std::string refusal;
  for (const format::FormatId id : candidates) {
    if (!magnitudes.surely_held(id)) {
      quant::RangeCheck range(t.cols, id);
      for_pieces([&](const std::vector<float>& rows) { range.add(rows, pool); });
      if (refusal = range.refusal(); !refusal.empty()) continue;
    }
    out.push_back(id);
  }
  ESP_CHECK(!out.empty(), input, source.path(), ": tensor ", arch::gguf_name(t.spec->role, t.layer),
            ": no candidate format holds it: ", refusal);
  return out;
}

// Sampled rows of one matrix, and what rounding them does to their outputs.
class Sample {
 public:
  Sample(const checkpoint::Checkpoint& source, const arch::TensorRef& t,
         const quant::TensorStatistics* statistics, core::ThreadPool& pool)
      : cols_(t.cols), statistics_(statistics), pool_(pool) {
    values_ = sample_rows(source, t, rows_);
    if (statistics == nullptr) {
      plain_.sum_squares.assign(static_cast<std::size_t>(cols_), 1.0);
      plain_.tokens = 1;
    }
    const std::vector<float> zeros(values_.size(), 0.0f);
    energy_ = std::max(output_error(zeros), 1e-30);
  }
  // `weight` times the error relative to the energy of the outputs; without statistics, to that of
  // the weights.
  double error(format::FormatId format, double weight = 1) const {
    const auto rounding =
        statistics_ != nullptr ? quant::Rounding::imatrix : quant::Rounding::nearest;
    return error(format, {rounding, statistics_}, weight);
  }
  double error_by_gptq(format::FormatId format, quant::FactorCache& cache) const {
    return error(format, {quant::Rounding::gptq, statistics_, &cache}, 1);
  }
  bool has_gram() const { return statistics_ != nullptr && statistics_->gram != nullptr; }

 private:
  double output_error(const std::vector<float>& rounded) const {
    return quant::output_error(values_, rounded, rows_, cols_,
                               statistics_ != nullptr ? *statistics_ : plain_);
  }
  double error(format::FormatId format, const quant::RoundingBy& by, double weight) const {
    const auto bytes = quant::round_matrix(values_, rows_, cols_, format, by, pool_);
    return weight * output_error(quant::decode_matrix(bytes, rows_, cols_, format)) / energy_;
  }
  std::int64_t rows_ = 0, cols_;
  std::vector<float> values_;
  const quant::TensorStatistics* statistics_;
  quant::TensorStatistics plain_;
  core::ThreadPool& pool_;
  double energy_ = 0;
};

// How one matrix after the other is weighed.
struct Weighing {
  const checkpoint::Checkpoint& source;
  const BudgetOptions& budget;
  quant::Rounding rounding;
  core::ThreadPool pool{budget.threads};
  quant::FactorCache cache = {};
};

// What the measured error of the matrix is to that of its outputs, in the format that it was
// measured with. Of that, gptq leaves what it leaves of the error of the outputs.
std::optional<double> measured_weight(Weighing& by, const arch::TensorRef& t,
                                      const Sample& sample) {
  if (by.budget.measured == nullptr) return std::nullopt;
  const auto found = by.budget.measured->find({t.spec->role, t.layer});
  if (found == by.budget.measured->end()) return std::nullopt;
  const auto [format, error] = found->second;
  const double own = std::max(sample.error(format), 1e-30);
  const double left = by.rounding == quant::Rounding::gptq && sample.has_gram()
                          ? sample.error_by_gptq(format, by.cache) / own
                          : 1.0;
  return left * error / own;
}

// The candidates of one matrix with their errors, measured on sampled rows.
plan::FormatChoice weigh(Weighing& by, const arch::TensorRef& t) {
  plan::FormatChoice choice{
      t.spec->role, t.layer, held(by.source, t, candidates_for(t, by.budget), by.pool), {}};
  const quant::Imatrix* imatrix = by.budget.imatrix;
  const quant::TensorStatistics* statistics =
      imatrix != nullptr ? imatrix->find(t.spec->role, t.layer) : nullptr;
  const Sample sample(by.source, t, statistics, by.pool);
  double weight = weight_of(t, by.source.dims(), statistics != nullptr);
  // Where there is nothing to choose, errors do not matter, and none may be measured.
  if (choice.formats.size() > 1) weight = measured_weight(by, t, sample).value_or(weight);
  for (const format::FormatId id : choice.formats) {
    const bool copied = by.budget.copies && is_copied(by.source, t, id);
    choice.error.push_back(copied ? 0 : sample.error(id, weight));
  }
  return choice;
}

// Tensor data when every tensor takes the candidate whose size is `better` than the others'.
template <typename Better>
std::int64_t data_bytes(const arch::Arch& arch, const arch::ModelDims& dims,
                        const BudgetOptions& budget, Better&& better) {
  plan::check_overrides(arch, dims, budget.overrides);
  std::int64_t n = 0;
  for (const arch::TensorRef& t : arch::tensors(arch, dims)) {
    if (t.is_vector) {
      n += padded_bytes(t, format::FormatId::f32);
      continue;
    }
    std::optional<std::int64_t> best;
    for (const format::FormatId id : candidates_for(t, budget))
      if (const std::int64_t bytes = padded_bytes(t, id); !best || better(bytes, *best))
        best = bytes;
    n += *best;
  }
  return n;
}

// What is left of the budget for tensor data, and what goes around it.
struct Available {
  std::int64_t data, around;
};
Available available_for(const checkpoint::Checkpoint& source, const BudgetOptions& budget,
                        const std::vector<plan::FormatChoice>& choices,
                        const ExportOptions& options) {
  if (!budget.whole_file) return {budget.target_bytes, 0};
  // Header, tokenizer and padding are the same for every choice, so the first choice gives them.
  plan::QuantPlan any =
      plan::allocate(source.arch(), source.dims(), choices, std::int64_t{1} << 60);
  const std::int64_t around = planned_file_bytes(source, any, options) -
                              padded_bytes(arch::tensors(source.arch(), source.dims()), any);
  return {budget.target_bytes - around, around};
}

// Refuses a budget that nothing fits in, and notes one that nothing fills. Said here and not by
// allocate(), which does not know the whole file.
void check_available(const checkpoint::Checkpoint& source, const BudgetOptions& budget,
                     const Available& available) {
  const std::int64_t smallest = smallest_data_bytes(source.arch(), source.dims(), budget);
  ESP_CHECK(
      smallest <= available.data, unsupported, "no choice of formats fits in ",
      core::human_bytes(budget.target_bytes), ": the tensors alone need ",
      core::human_bytes(smallest), " (", smallest, " bytes)",
      available.around > 0 ? ", header and tokenizer " + core::human_bytes(available.around) : "",
      "; prune further or allow smaller formats");
  if (const std::int64_t most = largest_data_bytes(source.arch(), source.dims(), budget);
      most < available.data)
    core::note("the budget leaves " + core::human_bytes(available.data) +
               " for the tensors, but the largest formats that may be chosen take " +
               core::human_bytes(most) + "; name larger ones (--format, or candidates) to use it");
}

}  // namespace

std::int64_t smallest_data_bytes(const arch::Arch& arch, const arch::ModelDims& dims,
                                 const BudgetOptions& budget) {
  return data_bytes(arch, dims, budget, [](std::int64_t a, std::int64_t b) { return a < b; });
}

std::int64_t largest_data_bytes(const arch::Arch& arch, const arch::ModelDims& dims,
                                const BudgetOptions& budget) {
  return data_bytes(arch, dims, budget, [](std::int64_t a, std::int64_t b) { return a > b; });
}

plan::QuantPlan plan_for_budget(const checkpoint::Checkpoint& source, const BudgetOptions& budget,
                                const ExportOptions& options, const core::Progress& progress) {
  plan::check_overrides(source.arch(), source.dims(), budget.overrides);
  Weighing by{source, budget, options.rounding};
  std::vector<plan::FormatChoice> choices;
  const std::vector<arch::TensorRef> tensors = arch::tensors(source.arch(), source.dims());
  std::int64_t done = 0;
  for (const arch::TensorRef& t : tensors) {
    ++done;
    if (t.is_vector) continue;
    choices.push_back(weigh(by, t));
    if (progress)
      progress({"budget", done, static_cast<std::int64_t>(tensors.size()), "tensors", ""});
  }
  const Available available = available_for(source, budget, choices, options);
  check_available(source, budget, available);
  plan::QuantPlan plan = plan::allocate(source.arch(), source.dims(), choices, available.data);
  plan.name = "mix";
  return plan;
}

}  // namespace espalier::exporter
