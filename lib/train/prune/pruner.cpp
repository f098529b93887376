// SPDX-License-Identifier: Apache-2.0
// `espalier prune` and `espalier score`: decide sizes, collect statistics, run the layer-by-layer
// pass, write the model and its reports.
#include "prune/pruner.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/file.h"
#include "format/safetensors.h"
#include "layerwise/saved.h"
#include "plan/memory.h"
#include "prune/criterion.h"
#include "prune/sequential.h"
#include "surgery/surgery.h"

namespace espalier::prune {
namespace {

using arch::Axis;

// What the report shows of the decision.
std::string importance_json(const Statistics& statistics, const plan::PrunePlan& plan,
                            const arch::ModelDims& before, const arch::ModelDims& after) {
  nlohmann::ordered_json out;
  for (const LayerStatistics& s : statistics.layers)
    out["block_influence"].push_back(std::stod(std::to_string(s.block_influence)));
  out["kept_layers"] = plan.keep_layers;
  for (const arch::LayerDims& l : before.layers) out["ffn_before"].push_back(l.ffn);
  for (const arch::LayerDims& l : after.layers) out["ffn_after"].push_back(l.ffn);
  return out.dump(1) + "\n";
}

struct Calibration {
  data::Corpus corpus;
  torch::Tensor windows;
};
Calibration load_calibration(const checkpoint::Checkpoint& source, const PruneOptions& options,
                             const core::Progress& progress) {
  const text::Tokenizer tokenizer(source.tokenizer());
  Calibration out{data::load_corpus(options.text_path, tokenizer, progress), {}};
  if (!options.held_out_path.empty())
    data::require_disjoint(out.corpus, data::load_corpus(options.held_out_path, tokenizer),
                           tokenizer);
  const CalibrationOptions& c = options.calibration;
  out.windows = torch::tensor(data::calibration_ids(out.corpus, c.tokens, c.sequence, c.seed,
                                                    source.dims().vocab))
                    .view({-1, c.sequence});
  return out;
}

plan::PrunePlan read_plan(const PruneOptions& options, const arch::ModelDims& before) {
  return plan::prune_plan_from_json(core::read_text_file(options.plan_path), before,
                                    options.plan_path);
}

}  // namespace

arch::ModelDims check(const PruneOptions& options, const arch::Arch& arch,
                      const arch::ModelDims& before) {
  arch::ModelDims after;
  if (!options.plan_path.empty()) {
    after = plan::dims_after(read_plan(options, before), before);
  } else {
    after = plan::resolve(options.target, arch, before);
    for (std::size_t l = 0; options.target.q_per_kv && l < before.layers.size(); ++l)
      ESP_CHECK(before.layers[l].q_per_kv <= *options.target.q_per_kv, usage, "q_per_kv ",
                *options.target.q_per_kv, ": no criterion scores the query heads of a KV group (",
                before.layers[l].q_per_kv, " here); give a plan that keeps the wanted heads");
    ESP_CHECK(after.vocab == before.vocab, usage, "vocab ", after.vocab,
              ": no criterion scores the vocabulary (", before.vocab,
              " here); give a plan that keeps the wanted tokens");
    const Criterion& criterion = criterion_by_name(options.criterion);
    if (after.hidden != before.hidden && !criterion.axes.contains(Axis::hidden)) {
      std::string able;
      for (const Criterion* c : all_criteria())
        if (c->axes.contains(Axis::hidden))
          able += (able.empty() ? "" : ", ") + std::string(c->name);
      core::fail(core::ErrorKind::usage, "hidden ", after.hidden, ": criterion '", criterion.name,
                 "' scores blocks, not the hidden size (", before.hidden,
                 " here); leave hidden as it is, or choose among ", able);
    }
  }
  static_cast<void>(checkpoint::hf_family_for(arch, after));
  return after;
}

PruneResult prune(const checkpoint::Checkpoint& source, const std::string& directory,
                  const PruneOptions& options, const core::Progress& progress) {
  const arch::ModelDims& before = source.dims();
  const arch::ModelDims after = check(options, source.arch(), before);
  std::optional<plan::PrunePlan> given;
  if (!options.plan_path.empty()) {
    given = read_plan(options, before);
    plan::require_source(*given, source.path(), source.sha256(), options.plan_path);
  }
  const Criterion& criterion = criterion_by_name(options.criterion);
  const Calibration calibration = load_calibration(source, options, progress);
  const model::Transformer dense = model::Transformer::open(source);
  const double ridge = options.ridge.value_or(default_ridge(calibration.windows.numel()));

  const std::vector<arch::LayerDims> sizes =
      given ? before.layers : plan::resolve_layers(options.target, source.arch(), before, after);
  bool cut_width = false;
  for (std::size_t l = 0; l < sizes.size(); ++l)
    cut_width = cut_width || !sizes[l].same_sizes(before.layers[l]);
  const bool cut_hidden = !given && after.hidden != before.hidden;
  nlohmann::json identity = {{"algorithm", checkpoint::algorithm_version("prune")},
                             {"source", source.sha256()},
                             {"plan", given ? plan::to_json(*given, source.arch(), before) : ""},
                             {"criterion", criterion.name},
                             {"ridge", ridge},
                             {"compensation", static_cast<int>(options.compensation)},
                             {"layers", after.n_layers()},
                             {"hidden", after.hidden}};
  for (const arch::LayerDims& l : sizes)
    identity["sizes"].push_back({l.kv_groups, l.q_per_kv, l.ffn});
  checkpoint::WorkFolder work({.folder = directory + "/checkpoint",
                               .resume = options.resume,
                               .threads = options.threads,
                               .share = options.state_share},
                              layerwise::identity_of(identity, calibration.windows));
  layerwise::begin(work);

  // Block influence and hidden statistics converge fast.
  constexpr std::int64_t kFewWindows = 16;
  const std::int64_t few = std::min(calibration.windows.size(0), kFewWindows);
  std::set<Statistic> wanted{Statistic::block_influence};
  if (cut_hidden) wanted.insert(Statistic::channel_moments);
  const Statistics statistics =
      collect(dense, calibration.windows.slice(0, 0, few), wanted, progress);

  plan::PrunePlan plan;
  std::map<std::pair<arch::Role, int>, torch::Tensor> replaced;
  if (given) {
    plan = *given;
  } else {
    std::vector<double> influence;
    for (const LayerStatistics& s : statistics.layers) influence.push_back(s.block_influence);
    plan = plan::keep_all(before);
    plan.keep_layers = keep_highest(influence, after.n_layers());
    plan.layers.assign(plan.keep_layers.size(), {});
    if (cut_hidden) {
      torch::InferenceMode inference;
      plan.hidden =
          keep_highest(criterion.score({dense, statistics}, Axis::hidden, -1), after.hidden);
    }
  }
  if (cut_width || options.compensation == Compensation::least_squares) {
    std::vector<arch::LayerDims> kept;
    for (const std::int64_t l : plan.keep_layers)
      kept.push_back(sizes[static_cast<std::size_t>(l)]);
    SequentialInput input{dense, calibration.windows, criterion,   options.compensation,
                          ridge, plan.keep_layers,    plan.hidden, kept};
    if (given) input.given = plan.layers;
    input.work = &work;
    SequentialResult result = prune_sequentially(input, progress);
    plan.layers = std::move(result.layers);
    replaced = std::move(result.replaced);
  }
  plan.source_sha256 = source.sha256();
  const auto replacement = [&](arch::Role role, int layer) {
    const auto it = replaced.find({role, layer});
    if (it == replaced.end()) return std::vector<float>();
    const torch::Tensor w = it->second.contiguous();
    return std::vector<float>(w.data_ptr<float>(), w.data_ptr<float>() + w.numel());
  };
  PruneResult out;
  out.parameters_before = arch::parameters(source.arch(), before);
  out.parameters_after =
      surgery::prune_checkpoint(source, plan, directory, options.write, replacement, progress);
  core::write_text_file(directory + "/importance.json",
                        importance_json(statistics, plan, before, plan::dims_after(plan, before)));
  work.remove();
  if (!given) out.notes = plan::smaller_layers(options.target, before);
  out.plan = std::move(plan);
  return out;
}

std::int64_t peak_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                         std::int64_t calibration_tokens, Compensation compensation) {
  const bool sequential = compensation == Compensation::least_squares;
  return plan::layer_stage_memory(
      arch, dims,
      {.tokens = calibration_tokens, .streams = sequential ? 5 : 1, .moments = sequential});
}

ScoreResult score(const checkpoint::Checkpoint& source, const std::string& text_path,
                  const std::string& criterion_name, const std::string& out_path,
                  const CalibrationOptions& calibration, const core::Progress& progress) {
  const Criterion& criterion = criterion_by_name(criterion_name);
  PruneOptions options;
  options.text_path = text_path;
  options.calibration = calibration;
  const Calibration text = load_calibration(source, options, progress);
  const model::Transformer dense = model::Transformer::open(source);
  std::set<Statistic> wanted = criterion.needs;
  wanted.insert(Statistic::block_influence);
  torch::InferenceMode inference;
  std::vector<std::pair<std::string, std::vector<float>>> of_layers, rows;
  const Statistics statistics = collect(
      dense, text.windows, wanted, progress,
      [&](const model::Transformer& model, const Statistics& so_far, int l) {
        for (const Axis axis : {Axis::ffn, Axis::kv_groups}) {
          if (arch::size_of(axis, source.dims(),
                            &source.dims().layers[static_cast<std::size_t>(l)]) == 0)
            continue;
          const std::vector<double> values = criterion.score({model, so_far}, axis, l);
          require_finite(values);
          of_layers.emplace_back(std::string(arch::axis_name(axis)) + "." + std::to_string(l),
                                 std::vector<float>(values.begin(), values.end()));
        }
      });
  const auto add = [&](const std::string& name, const std::vector<double>& values) {
    require_finite(values);
    rows.emplace_back(name, std::vector<float>(values.begin(), values.end()));
  };
  std::vector<double> influence;
  for (const LayerStatistics& s : statistics.layers) influence.push_back(s.block_influence);
  add("layers", influence);
  const bool has_hidden = criterion.axes.contains(Axis::hidden);
  if (has_hidden) add("hidden", criterion.score({dense, statistics}, Axis::hidden, -1));
  rows.insert(rows.end(), of_layers.begin(), of_layers.end());
  format::SafetensorsWriter writer(out_path);
  writer.set_metadata("criterion", criterion_name);
  writer.set_metadata("tokens", std::to_string(statistics.tokens));
  for (const auto& [name, values] : rows)
    writer.add_tensor(name, format::FormatId::f32, {static_cast<std::int64_t>(values.size())});
  writer.begin();
  for (const auto& [name, values] : rows) writer.write(std::as_bytes(std::span(values)));
  writer.finish();
  ScoreResult out{criterion_name, statistics.tokens, {"layers", "ffn", "kv_groups"}};
  if (has_hidden) out.axes.push_back("hidden");
  return out;
}

}  // namespace espalier::prune
