// SPDX-License-Identifier: Apache-2.0
// `espalier prune` and `espalier score`: decide sizes, collect statistics, run the layer-by-layer
// pass, write the model and its reports.
#include "prune/pruner.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/file.h"
#include "data/corpus.h"
#include "layerwise/saved.h"
#include "plan/memory.h"
#include "prune/criterion.h"
#include "prune/sequential.h"
#include "surgery/surgery.h"

namespace espalier::prune {
namespace {

using arch::Axis;

// What the report shows of the decision.
std::string importance_json(const std::vector<double>& influence, const plan::PrunePlan& plan,
                            const arch::ModelDims& before, const arch::ModelDims& after) {
  nlohmann::ordered_json out;
  for (const double v : influence) out["block_influence"].push_back(std::stod(std::to_string(v)));
  out["kept_layers"] = plan.keep_layers;
  for (const arch::LayerDims& l : before.layers) out["ffn_before"].push_back(l.ffn);
  for (const arch::LayerDims& l : after.layers) out["ffn_after"].push_back(l.ffn);
  return out.dump(1) + "\n";
}

// [n, sequence]
torch::Tensor load_windows(const checkpoint::Checkpoint& source, const std::string& text_path,
                           const std::string& held_out_path, const CalibrationOptions& options,
                           const core::Progress& progress) {
  const text::Tokenizer tokenizer(source.tokenizer());
  const data::Corpus corpus = data::load_corpus(text_path, tokenizer, progress);
  if (!held_out_path.empty())
    data::require_disjoint(corpus, data::load_corpus(held_out_path, tokenizer), tokenizer);
  return torch::tensor(data::calibration_ids(corpus, options.tokens, options.sequence, options.seed,
                                             source.dims().vocab))
      .view({-1, options.sequence});
}

plan::PrunePlan read_plan(const PruneOptions& options, const arch::ModelDims& before) {
  return plan::prune_plan_from_json(core::read_text_file(options.plan_path), before,
                                    options.plan_path);
}

// Refuses to cut an axis that the criterion does not score.
void require_scored(const Criterion& criterion, Axis axis, std::int64_t before,
                    std::int64_t after) {
  if (after == before || criterion.axes.contains(axis)) return;
  std::string able;
  for (const Criterion* c : all_criteria())
    if (c->axes.contains(axis)) able += (able.empty() ? "" : ", ") + std::string(c->name);
  core::fail(core::ErrorKind::usage, arch::axis_name(axis), " ", after, ": criterion '",
             criterion.name, "' does not score this axis (", before,
             " here); leave it as it is, or choose among ", able);
}

// The layers and the stream's indices that stay, and with `blocks` also what stays in each layer.
plan::PrunePlan choose(const Scores& scores, const arch::ModelDims& before,
                       const arch::ModelDims& after, const std::vector<arch::LayerDims>& sizes,
                       bool blocks) {
  plan::PrunePlan plan = plan::keep_all(before);
  plan.keep_layers = keep_highest(scores.at("layers"), after.n_layers());
  if (after.hidden != before.hidden) plan.hidden = keep_highest(scores.at("hidden"), after.hidden);
  plan.layers.assign(plan.keep_layers.size(), {});
  const auto cut = [&](Axis axis, plan::Selection plan::LayerSelection::* selection) {
    std::vector<std::int64_t> wanted;
    for (const arch::LayerDims& l : sizes) wanted.push_back(arch::size_of(axis, before, &l));
    const KeptOfLayers kept = keep_highest_per_layer(scores, axis, wanted);
    for (std::size_t k = 0; k < plan.layers.size(); ++k) {
      const auto l = static_cast<std::size_t>(plan.keep_layers[k]);
      if (wanted[l] != arch::size_of(axis, before, &before.layers[l]))
        plan.layers[k].*selection = kept[l];
    }
  };
  if (blocks) cut(Axis::ffn, &plan::LayerSelection::ffn);
  if (blocks) cut(Axis::kv_groups, &plan::LayerSelection::kv_groups);
  return plan;
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
    require_scored(criterion, Axis::hidden, before.hidden, after.hidden);
    const auto sizes = plan::resolve_layers(options.target, arch, before, after);
    for (std::size_t l = 0; l < sizes.size(); ++l)
      for (const Axis axis : {Axis::ffn, Axis::kv_groups})
        require_scored(criterion, axis, arch::size_of(axis, before, &before.layers[l]),
                       arch::size_of(axis, before, &sizes[l]));
  }
  static_cast<void>(checkpoint::hf_family_for(arch, after));
  return after;
}

PruneResult prune(const checkpoint::Checkpoint& source, const std::string& directory,
                  const PruneOptions& options, const core::Progress& progress) {
  const arch::ModelDims& before = source.dims();
  const arch::ModelDims after = check(options, source.arch(), before);
  const Criterion& criterion = criterion_by_name(options.criterion);
  std::optional<plan::PrunePlan> given;
  if (!options.plan_path.empty()) {
    given = read_plan(options, before);
    plan::require_source(*given, source.path(), source.sha256(), options.plan_path);
  }
  const torch::Tensor windows =
      load_windows(source, options.text_path, options.held_out_path, options.calibration, progress);
  const model::Transformer dense = model::Transformer::open(source);
  const double ridge = options.ridge.value_or(default_ridge(windows.numel()));
  const std::vector<arch::LayerDims> sizes =
      given ? before.layers : plan::resolve_layers(options.target, source.arch(), before, after);
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
                              layerwise::identity_of(identity, windows));
  layerwise::begin(work);

  // Whole layers and the stream's indices are chosen before the pass. Their scores converge fast.
  constexpr std::int64_t kFewWindows = 16;
  const bool all = !given && criterion.scope == Scope::model;
  std::set<Axis> axes;
  if (!given && after.hidden != before.hidden) axes.insert(Axis::hidden);
  if (all) axes.insert({Axis::ffn, Axis::kv_groups});
  const Scores scores = score_model(dense, all ? windows : windows.slice(0, 0, kFewWindows),
                                    criterion, axes, progress);
  plan::PrunePlan plan = given ? *given : choose(scores, before, after, sizes, all);
  const bool chosen = given || all;  // the plan says what every block keeps
  std::vector<arch::LayerDims> kept;
  bool cut_width = false;
  for (const std::int64_t l : plan.keep_layers) {
    const auto i = static_cast<std::size_t>(l);
    kept.push_back(chosen ? before.layers[i] : sizes[i]);
    cut_width = cut_width || !kept.back().same_sizes(before.layers[i]);
  }

  std::map<std::pair<arch::Role, int>, torch::Tensor> replaced;
  if (cut_width || options.compensation == Compensation::least_squares) {
    SequentialInput input{dense, windows,          criterion,   options.compensation,
                          ridge, plan.keep_layers, plan.hidden, kept};
    if (chosen) input.given = plan.layers;
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
  core::write_text_file(
      directory + "/importance.json",
      importance_json(scores.at("layers"), plan, before, plan::dims_after(plan, before)));
  work.remove();
  if (!given) out.notes = plan::smaller_layers(options.target, before);
  out.plan = std::move(plan);
  return out;
}

std::int64_t peak_memory(const PruneOptions& options, const arch::Arch& arch,
                         const arch::ModelDims& dims) {
  const bool planned = !options.plan_path.empty(),
             pass = !planned || options.compensation == Compensation::least_squares;
  const std::int64_t of_pass = plan::layer_stage_memory(
      arch, dims, {.tokens = options.calibration.tokens, .streams = pass ? 5 : 1, .moments = pass});
  if (planned || criterion_by_name(options.criterion).scope == Scope::layer) return of_pass;
  return std::max(of_pass, score_memory(options.criterion, arch, dims, options.calibration.tokens));
}

std::int64_t score_memory(const std::string& criterion, const arch::Arch& arch,
                          const arch::ModelDims& dims, std::int64_t tokens) {
  return plan::layer_stage_memory(arch, dims, {.tokens = tokens}) +
         bytes_of(criterion_by_name(criterion).needs, arch, dims);
}

ScoreResult score(const checkpoint::Checkpoint& source, const std::string& text_path,
                  const std::string& criterion_name, const std::string& out_path,
                  const CalibrationOptions& calibration, const core::Progress& progress,
                  const checkpoint::WorkOptions& options) {
  const Criterion& criterion = criterion_by_name(criterion_name);
  const torch::Tensor windows = load_windows(source, text_path, "", calibration, progress);
  checkpoint::WorkFolder work(
      options, layerwise::identity_of({{"verb", "score"},
                                       {"algorithm", checkpoint::algorithm_version("prune")},
                                       {"source", source.sha256()},
                                       {"criterion", criterion.name}},
                                      windows));
  layerwise::begin(work);
  const Scores scores = score_model(model::Transformer::open(source), windows, criterion,
                                    criterion.axes, progress, &work);
  write_scores(scores, out_path);
  work.remove();
  ScoreResult out{criterion_name, scores.tokens, {"layers"}};
  for (const Axis axis : {Axis::ffn, Axis::kv_groups, Axis::hidden})
    if (scores.has(axis)) out.axes.emplace_back(arch::axis_name(axis));
  return out;
}

}  // namespace espalier::prune
