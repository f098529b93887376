// SPDX-License-Identifier: Apache-2.0
// Finds the directions, writes the turned model, and has it cut.
#include "prune/rotation.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/file.h"
#include "core/units.h"
#include "layerwise/gram.h"
#include "layerwise/saved.h"
#include "layerwise/windows.h"
#include "plan/memory.h"
#include "prune/criterion.h"

namespace espalier::prune {
namespace {

using arch::Role;
using torch::Tensor;

// How a tensor takes part in the stream.
enum class Use : std::uint8_t { none, norm, reads, writes };
struct StreamUse {
  Use use = Use::none;
  Role norm = Role::output_norm;  // that a matrix reads behind
};
StreamUse use_of(const arch::Arch& arch, Role role) {
  if (role == Role::token_embd || role == Role::pos_embd) return {Use::writes};
  if (role == Role::output_norm) return {Use::norm};
  if (role == Role::output) return {Use::reads, Role::output_norm};
  for (const arch::Block& block : arch.blocks) {
    if (!block.has(role)) continue;
    if (role == block.norm) return {Use::norm};
    if (block.readers.contains(role)) return {Use::reads, block.norm};
    if (role == block.consumer || arch::bias_of(block.consumer) == role) return {Use::writes};
  }
  return {};
}

bool plus_one(const arch::Arch& arch) { return arch.norm == arch::Norm::rms_plus_one; }

arch::ModelDims untied(arch::ModelDims dims) {
  dims.tied = false;
  return dims;
}

// Second moments of the stream as all norms see it, before their gains. float64.
class StreamMoments : public layerwise::Visitor {
 public:
  bool by_block() const override { return true; }
  void begin(model::Transformer& model, const Tensor&, const layerwise::Stream& stream) override {
    eps_ = model.dims().norm_eps;
    add(stream);
  }
  void block_end(model::Transformer&, int, const arch::Block&,
                 const layerwise::Stream& stream) override {
    add(stream);
  }
  Tensor sum;  // [H, H]

 private:
  void add(const layerwise::Stream& stream) {
    for (std::int64_t b = 0; b < stream.batches(); ++b) {
      const Tensor x = stream.at(b).flatten(0, 1);
      const Tensor moments =
          layerwise::gram(x * (x.square().mean(-1, true) + eps_).rsqrt()).to(torch::kFloat64);
      sum = sum.defined() ? sum.add_(moments) : moments;
    }
  }
  double eps_ = 0;
};

class Turner {
 public:
  Turner(const checkpoint::Checkpoint& source, const Tensor& basis)
      : source_(source), model_(model::Transformer::open(source)), basis_(basis) {}

  // Calls write(rows) with consecutive rows of the turned tensor.
  template <typename Write>
  void turn(const arch::TensorRef& t, Write&& write) const {
    const StreamUse stream = use_of(source_.arch(), t.spec->role);
    // A tied model has no output matrix but its embeddings.
    const Role stored =
        t.spec->role == Role::output && source_.dims().tied ? Role::token_embd : t.spec->role;
    if (stream.use == Use::norm) {
      write(torch::full({t.rows}, plus_one(source_.arch()) ? 0.0f : 1.0f));
    } else if (stream.use == Use::writes && t.layer >= 0) {  // of a block
      write(from_left(model_.rows(stored, t.layer, 0, t.rows)));
    } else {
      const Tensor right = right_factor(stream, t.layer);
      const std::int64_t block = std::max<std::int64_t>(1, kValues / t.cols);
      for (std::int64_t row = 0; row < t.rows; row += block) {
        const Tensor rows = model_.rows(stored, t.layer, row, std::min(block, t.rows - row));
        write(right.defined() ? rows.to(torch::kFloat64).matmul(right) : rows);
      }
    }
  }

 private:
  static constexpr std::int64_t kValues = std::int64_t{1} << 22;  // of a matrix at a time

  // diag(g) Q, or Q for embeddings. Undefined for a tensor that does not touch the stream.
  Tensor right_factor(const StreamUse& stream, int layer) const {
    if (stream.use == Use::none) return {};
    if (stream.use == Use::writes) return basis_;
    const int of = stream.norm == Role::output_norm ? -1 : layer;
    const Tensor gain = model_.rows(stream.norm, of, 0, basis_.size(0)).to(torch::kFloat64);
    return (gain.view({-1, 1}) + (plus_one(source_.arch()) ? 1 : 0)) * basis_;
  }
  // Q^T w, some columns at a time.
  Tensor from_left(const Tensor& w) const {
    const Tensor columns = w.view({w.size(0), -1}), out = torch::empty_like(columns);
    const std::int64_t block = std::max<std::int64_t>(1, kValues / w.size(0));
    for (std::int64_t c = 0; c < columns.size(1); c += block) {
      const std::int64_t n = std::min(block, columns.size(1) - c);
      out.narrow(1, c, n).copy_(basis_.t().matmul(columns.narrow(1, c, n).to(torch::kFloat64)));
    }
    return out;
  }

  const checkpoint::Checkpoint& source_;
  model::Transformer model_;
  Tensor basis_;
};

// What is left of the mean squared stream, and what a matrix of its own costs.
std::vector<std::string> notes_of(const std::vector<double>& moments, const PruneResult& result,
                                  const checkpoint::Checkpoint& source) {
  std::vector<std::string> out;
  const plan::PrunePlan& plan = result.plan;
  const std::size_t kept = plan.hidden ? plan.hidden->size() : moments.size(),
                    tokens = plan.vocab ? plan.vocab->size()
                                        : static_cast<std::size_t>(source.dims().vocab);
  double share = 0;
  for (std::size_t i = 0; i < kept; ++i) share += moments[i];
  out.push_back(std::to_string(kept) + " of " + std::to_string(moments.size()) +
                " directions hold " + core::number(100 * share) + " % of the normed stream");
  if (source.dims().tied)
    out.push_back("the output matrix is one of its own now, " +
                  core::human_count(static_cast<std::int64_t>(tokens * kept)) +
                  " parameters: it holds the gain of the last norm");
  return out;
}

}  // namespace

bool turns_stream(const PruneOptions& options) {
  return options.plan_path.empty() && options.scores_path.empty() && !options.blocks &&
         options.target.hidden && criterion_by_name(options.criterion).turns;
}

arch::ModelDims dims_to_cut(const PruneOptions& options, const arch::Arch& arch,
                            const arch::ModelDims& dims) {
  if (!turns_stream(options)) return dims;
  require_turnable(arch, dims);
  return untied(dims);
}

void require_hidden(const PruneOptions& options) {
  ESP_CHECK(!options.plan_path.empty() || !options.scores_path.empty() || options.target.hidden ||
                !criterion_by_name(options.criterion).turns,
            usage, "criterion '", options.criterion,
            "' finds directions of the stream and cuts nothing else; give hidden (its own size "
            "turns the model and keeps all), or choose another criterion");
}

void require_channels(const std::string& criterion) {
  ESP_CHECK(!criterion_by_name(criterion).turns, usage, "criterion '", criterion,
            "' finds directions of the stream, and a file of scores cannot hold them; prune with "
            "it, or choose another criterion");
}

void require_turnable(const arch::Arch& arch, const arch::ModelDims& dims) {
  const auto refuse = [&](const std::string& reason) {
    core::fail(core::ErrorKind::unsupported, "the stream of ", arch.name,
               " cannot be turned: ", reason,
               "; choose a criterion of channels, such as activation");
  };
  if (arch::has_bias(arch.norm)) refuse("LayerNorm subtracts the mean of all channels");
  for (const arch::Block& block : arch.blocks) {
    if (block.norm_behind)
      refuse("the gain of " + std::string(arch::role_name(*block.norm_behind)) +
             " multiplies channels of what each block adds");
    for (const arch::TensorSpec& t : block.tensors)
      if (touches(t.rows, arch::Axis::hidden) && use_of(arch, t.role).use == Use::none)
        refuse(std::string(arch::role_name(t.role)) + " multiplies its channels");
  }
  if (dims.tied && (arch.ignores_own_output || arch.gguf_output == arch::GgufOutput::embedding))
    refuse("its readers take the embeddings as output matrix, which would become two");
}

Directions principal_directions(const model::Transformer& model, const Tensor& windows,
                                layerwise::WalkOptions walk) {
  ESP_CHECK(windows.size(0) > 0, usage, "directions of the stream need a text");
  const torch::InferenceMode inference;
  StreamMoments seen;
  walk.stage = "directions";
  layerwise::Walk(model, windows, {&seen}, std::move(walk)).run();
  ESP_CHECK(torch::isfinite(seen.sum).all().item<bool>(), input,
            "the stream of this text exceeds the range of floating point, so that it has no "
            "principal directions");
  const auto [values, vectors] = torch::linalg_eigh(seen.sum, "L");
  const Tensor falling = (values / values.sum()).flip(0);
  return {vectors.flip(1).contiguous(), layerwise::vector_of<double>(falling)};
}

void write_turned(const checkpoint::Checkpoint& source, const Tensor& basis,
                  const std::string& directory, const core::Progress& progress) {
  require_turnable(source.arch(), source.dims());
  const torch::InferenceMode inference;
  const arch::ModelDims dims = untied(source.dims());
  checkpoint::CheckpointWriter writer(
      directory, source.arch(), dims, {},
      {source.hf_config(), source.has_tokenizer() ? &source.tokenizer() : nullptr,
       source.hf_generation_config(),
       checkpoint::derived(source.description(), source.parent_name())});
  const Turner turner(source, basis);
  const std::vector<arch::TensorRef> tensors = arch::tensors(source.arch(), dims);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const arch::TensorRef& t = tensors[i];
    turner.turn(t, [&](const Tensor& rows) {
      const Tensor values = rows.to(torch::kFloat32).contiguous();
      writer.write_rows(t.spec->role, t.layer,
                        {values.const_data_ptr<float>(), static_cast<std::size_t>(values.numel())});
    });
    if (progress)
      progress({"turn", static_cast<std::int64_t>(i) + 1, static_cast<std::int64_t>(tensors.size()),
                "tensors", ""});
  }
  writer.finish();
}

double gain_factor(const PruneOptions& options, std::int64_t before, std::int64_t after) {
  if (before == after || !turns_stream(options)) return 1;
  return std::sqrt(static_cast<double>(before) / static_cast<double>(after));
}

surgery::Replacement::Adjust scale_stream(const arch::Arch& arch, double factor) {
  if (factor == 1) return {};
  return [&arch, factor](Role role, std::vector<float>& rows) {
    const Use use = use_of(arch, role).use;
    const double less = plus_one(arch) ? 1 : 0;  // of the stored gain
    for (float& v : rows) {
      const auto value = static_cast<double>(v);
      if (use == Use::norm) v = static_cast<float>((value + less) * factor - less);
      if (use == Use::writes) v = static_cast<float>(value / factor);
    }
  };
}

PruneResult prune_turned(const checkpoint::Checkpoint& source, const Tensor& windows,
                         const std::string& directory, const PruneOptions& options,
                         const core::Progress& progress, const CutTurned& cut) {
  checkpoint::WorkFolder work(
      {.folder = directory + "/checkpoint",
       .resume = options.resume,
       .or_start_over = options.or_start_over,
       .threads = options.threads},
      layerwise::identity_of({{"turned", options.criterion},
                              {"algorithm", checkpoint::algorithm_version("prune")},
                              {"source", source.sha256()}},
                             windows, options.calibration));
  layerwise::begin(work);
  work.start();
  const std::string folder = work.file("turned"), shares = work.file("moments.json");
  if (!work.has("turned/config.json")) {
    const Directions found = principal_directions(
        layerwise::open_for(source, options.calibration), windows,
        {.progress = progress, .batch_tokens = options.calibration.batch_tokens});
    core::write_text_file(shares, nlohmann::json(found.moments).dump());
    write_turned(source, found.basis, folder, progress);
  }
  const auto turned = checkpoint::Checkpoint::open(folder);
  PruneResult out = cut(turned, work.file("cut"));
  out.parameters_before = arch::parameters(source.arch(), source.dims());
  // Its indices are those of the turned model, of which nothing is left but the result.
  out.plan.source_sha256 = source.sha256();
  out.plan.basis = options.criterion;
  core::write_text_file(directory + "/plan.json",
                        plan::to_json(out.plan, turned.arch(), turned.dims()));
  const auto moments =
      nlohmann::json::parse(core::read_text_file(shares)).get<std::vector<double>>();
  for (std::string& note : notes_of(moments, out, source)) out.notes.push_back(std::move(note));
  work.remove();
  return out;
}

std::int64_t turned_bytes(const PruneOptions& options, const arch::Arch& arch,
                          const arch::ModelDims& dims) {
  return turns_stream(options) ? 4 * arch::parameters(arch, untied(dims)) : 0;
}

std::int64_t turning_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                            const text::CalibrationOptions& calibration) {
  const std::int64_t square = 8 * dims.hidden * dims.hidden;
  return plan::layer_stage_memory(arch, dims,
                                  {.tokens = calibration.tokens,
                                   .batch_tokens = calibration.batch_tokens,
                                   .sums = false,
                                   .more = 8 * square});  // moments, and their decomposition
}

}  // namespace espalier::prune
