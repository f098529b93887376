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

// The candidates of one matrix with their errors, measured on sampled rows.
plan::FormatChoice weigh(const checkpoint::Checkpoint& source, const arch::TensorRef& t,
                         const BudgetOptions& budget, core::ThreadPool& pool) {
  plan::FormatChoice choice{
      t.spec->role, t.layer, held(source, t, candidates_for(t, budget), pool), {}};
  std::int64_t n = 0;
  const std::vector<float> rows = sample_rows(source, t, n);
  const quant::TensorStatistics* statistics =
      budget.imatrix != nullptr ? budget.imatrix->find(t.spec->role, t.layer) : nullptr;
  quant::TensorStatistics plain;
  if (statistics == nullptr) {
    plain.sum_squares.assign(static_cast<std::size_t>(t.cols), 1.0);
    plain.tokens = 1;
  }
  const quant::TensorStatistics& weights = statistics != nullptr ? *statistics : plain;
  const quant::RoundingBy by{
      statistics != nullptr ? quant::Rounding::imatrix : quant::Rounding::nearest, statistics};
  const std::vector<float> zeros(rows.size(), 0.0f);
  const double weight = weight_of(t, source.dims(), statistics != nullptr);
  const double energy = std::max(quant::output_error(rows, zeros, n, t.cols, weights), 1e-30);
  for (format::FormatId id : choice.formats) {
    if (budget.copies && is_copied(source, t, id)) {
      choice.error.push_back(0);
      continue;
    }
    const auto bytes = quant::round_matrix(rows, n, t.cols, id, by, pool);
    choice.error.push_back(
        weight *
        quant::output_error(rows, quant::decode_matrix(bytes, n, t.cols, id), n, t.cols, weights) /
        energy);
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
  core::ThreadPool pool(budget.threads);
  std::vector<plan::FormatChoice> choices;
  const std::vector<arch::TensorRef> tensors = arch::tensors(source.arch(), source.dims());
  std::int64_t done = 0;
  for (const arch::TensorRef& t : tensors) {
    ++done;
    if (t.is_vector) continue;
    choices.push_back(weigh(source, t, budget, pool));
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
