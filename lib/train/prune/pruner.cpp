// SPDX-License-Identifier: Apache-2.0
// `espalier prune` and `espalier score`: decide sizes, collect statistics, run the layer-by-layer
// pass, write the model and its reports.
#include "prune/pruner.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "checkpoint/manifest.h"
#include "core/file.h"
#include "core/notes.h"
#include "data/mixture.h"
#include "hash/sha256.h"
#include "layerwise/saved.h"
#include "layerwise/windows.h"
#include "prune/choose.h"
#include "prune/choose_sizes.h"
#include "prune/criterion.h"
#include "prune/influence.h"
#include "prune/request.h"
#include "prune/rotation.h"
#include "prune/sequential.h"
#include "surgery/merge.h"

namespace espalier::prune {
namespace {

using arch::Axis;

// [n, sequence]; none without a text.
torch::Tensor load_windows(const checkpoint::Checkpoint& source,
                           const std::vector<data::Share>& shares, const std::string& held_out_path,
                           const text::Reading& reading, const text::CalibrationOptions& options,
                           const core::Progress& progress) {
  if (shares.empty()) return torch::empty({0, options.sequence}, torch::kInt64);
  const text::Tokenizer tokenizer(source.tokenizer());
  const data::Mixture texts = data::load_mixture(shares, tokenizer, progress, reading);
  if (!held_out_path.empty())
    data::require_disjoint(texts, data::load_corpus(held_out_path, tokenizer, {}, reading),
                           tokenizer);
  return layerwise::draw_windows(texts, options, source.dims().vocab);
}

// What one run cuts.
struct Task {
  const arch::ModelDims& before;
  const arch::ModelDims after;
  const Criterion& criterion;
  const Criterion* const of_layers;  // whose scores decide which layers go; null: block influence
  const std::optional<plan::PrunePlan> given;
  std::vector<arch::LayerDims> sizes;  // wanted of each layer of `before`
  const std::optional<double> ridge;
  const std::uint64_t seed;
  const std::optional<std::int64_t> blocks;
  std::optional<plan::SizeQuestion> question = {};  // what is left to choose of `sizes`
  const std::string scores_path = {};  // of scores that decide instead of the criterion's

  // How many layers the scores drop.
  std::int64_t drop() const { return given ? 0 : before.n_layers() - after.n_layers(); }
  // Everything is scored before anything is cut, by a file or by one pass over the model.
  bool scores_all() const {
    return !given && !blocks && (!scores_path.empty() || criterion.scope == Scope::model);
  }
  // The plan says what every block keeps.
  bool chosen() const { return given || blocks || scores_all(); }
};

std::string identity_of(const Task& task, const checkpoint::Checkpoint& source,
                        const PruneOptions& options, const torch::Tensor& windows) {
  nlohmann::json identity = {
      {"algorithm", checkpoint::algorithm_version("prune")},
      {"source", source.sha256()},
      {"plan", task.given ? plan::to_json(*task.given, source.arch(), task.before) : ""},
      {"criterion", task.criterion.name},
      {"layer_criterion", task.of_layers == nullptr ? "" : task.of_layers->name},
      {"seed", task.seed},
      {"blocks", task.blocks.value_or(0)},
      {"ridge", task.ridge ? nlohmann::json(*task.ridge) : nlohmann::json(nullptr)},
      {"compensation", static_cast<int>(options.compensation)},
      {"layers", task.after.n_layers()},
      {"hidden", task.after.hidden}};
  if (task.question) identity["total"] = {options.per_layer, task.question->budget};
  if (!task.scores_path.empty()) identity["scores"] = hash::sha256_file(task.scores_path);
  for (const arch::LayerDims& l : task.sizes)
    identity["sizes"].push_back({l[Axis::kv_groups], l[Axis::q_per_kv], l[Axis::ffn]});
  return layerwise::identity_of(identity, windows, options.calibration);
}

// The scores that choose() needs. `work` keeps those that took passes over everything.
Scores scores_for(const Task& task, const model::Transformer& dense, const torch::Tensor& windows,
                  const layerwise::WalkOptions& walk, checkpoint::WorkFolder& work) {
  if (!task.scores_path.empty()) return read_scores(task.scores_path, task.before);
  const std::string kept = work.file("scores.safetensors");
  const bool thins = task.after.hidden != task.before.hidden,
             by_criterion = task.of_layers != nullptr,
             by_influence = task.drop() > 0 && !by_criterion,
             of_blocks = task.blocks && !task.given;
  const bool keeps = task.scores_all() || by_criterion || of_blocks;
  if (keeps && work.has("scores.safetensors")) return read_scores(kept, task.before);
  // Layers and the stream are chosen before the pass that cuts. Their scores converge fast.
  const torch::Tensor few = windows.slice(0, 0, kLayerWindows);
  Scores scores;
  if (task.scores_all())
    scores = score_model(dense, windows, task.criterion, task.criterion.axes, walk, task.seed);
  else if (!task.given && (by_influence || thins))
    scores = score_model(dense, few, task.criterion,
                         thins ? std::set{Axis::hidden} : std::set<Axis>(), walk, task.seed);
  if (by_criterion)
    score_layers(*task.of_layers, {dense, few, walk, task.seed, task.drop()}, scores);
  if (of_blocks) {
    const auto present = present_blocks(dense.arch(), task.before).size();
    score_layers(task.criterion,
                 {dense, few, walk, task.seed, static_cast<std::int64_t>(present) - *task.blocks},
                 scores);
    scores.all.erase("layers");  // of random; no layer goes by them
  }
  if (keeps) work.save([&] { write_scores(scores, kept); });
  return scores;
}

plan::PrunePlan decide(const Task& task, const Scores& scores, const arch::Arch& arch) {
  if (task.given) return *task.given;
  if (task.blocks) return choose_blocks(scores, arch, task.before, *task.blocks);
  return choose(scores, task.before, task.after, task.sizes, task.scores_all() && !task.question);
}

// The sizes to cut the kept layers to. Where the plan says what each keeps, those of the source.
std::vector<arch::LayerDims> kept_sizes(const Task& task, const plan::PrunePlan& plan) {
  std::vector<arch::LayerDims> kept;
  for (const std::int64_t l : plan.keep_layers) {
    const auto i = static_cast<std::size_t>(l);
    kept.push_back(task.chosen() ? task.before.layers[i] : task.sizes[i]);
  }
  return kept;
}

void note_a_missing_refit(const Task& task, Compensation compensation) {
  if (task.given || !task.scores_path.empty() || !task.criterion.assumes_refit ||
      compensation != Compensation::none)
    return;
  core::note("criterion '" + std::string(task.criterion.name) +
             "' ranks by what is left after a refit, but nothing is refitted: with 'compensate: "
             "none' another criterion may keep more");
}

using Weights = std::map<std::pair<arch::Role, int>, torch::Tensor>;

// Empty for a tensor that is not among them.
std::vector<float> values_of(const Weights& weights, arch::Role role, int layer) {
  const auto it = weights.find({role, layer});
  if (it == weights.end()) return {};
  const torch::Tensor w = it->second.contiguous();
  return std::vector<float>(w.data_ptr<float>(), w.data_ptr<float>() + w.numel());
}

surgery::Replacement replacement_of(const Weights& weights, const arch::ModelDims& after) {
  surgery::Replacement out(
      [&weights](arch::Role role, int layer) { return values_of(weights, role, layer); });
  out.attention_bias = after.attention_bias;
  out.output_bias = after.output_bias;
  out.mlp_bias = after.mlp_bias;
  return out;
}

// The pass over the model, but for how it walks.
SequentialInput pass_of(const Task& task, const model::Transformer& dense,
                        const torch::Tensor& windows, Compensation compensation,
                        const plan::PrunePlan& plan) {
  SequentialInput out{dense,      windows,          task.criterion, compensation,
                      task.ridge, plan.keep_layers, plan.hidden,    kept_sizes(task, plan)};
  if (task.chosen()) out.given = plan.layers;
  return out;
}

// Chooses the sizes that a total leaves open, and puts them into the task and the plan. `pass`: the
// one that will cut.
DecidedSizes settle_sizes(Task& task, const Scores& scores, SequentialInput pass,
                          checkpoint::WorkFolder& work, plan::PrunePlan& plan) {
  if (task.drop() > 0) plan::settle(*task.question, plan.keep_layers, task.question->most);
  DecidedSizes out = decide_sizes({*task.question, scores, pass, task.seed, work});
  const plan::PrunePlan cut = plan::plan_of(out.choice, out.curves, task.before);
  plan.keep_layers = cut.keep_layers;
  plan.layers.assign(cut.keep_layers.size(), {});
  if (task.chosen()) plan.layers = cut.layers;
  task.sizes = out.choice.layers;
  return out;
}

bool cuts_width(const arch::ModelDims& before, const plan::PrunePlan& plan,
                const std::vector<arch::LayerDims>& kept) {
  for (std::size_t k = 0; k < kept.size(); ++k)
    if (kept[k].sizes != before.layers[static_cast<std::size_t>(plan.keep_layers[k])].sizes)
      return true;
  return false;
}

// What importance.json shows of the decision. `layers`: their scores, which are known when layers
// were dropped or when a pass went through the model.
void write_report(const std::string& directory, const Task& task, const plan::PrunePlan& plan,
                  const std::vector<double>& layers,
                  const std::map<arch::Role, std::vector<double>>& ridges,
                  const nlohmann::ordered_json& sizes) {
  nlohmann::ordered_json out;
  const char* key = task.of_layers == nullptr ? "block_influence" : "layer_scores";
  if (task.of_layers != nullptr) out["layer_criterion"] = task.of_layers->name;
  for (const double v : layers) out[key].push_back(std::stod(std::to_string(v)));
  out["kept_layers"] = plan.keep_layers;
  for (const arch::LayerDims& l : task.before.layers) out["ffn_before"].push_back(l[Axis::ffn]);
  for (const arch::LayerDims& l : plan::dims_after(plan, task.before).layers)
    out["ffn_after"].push_back(l[Axis::ffn]);
  for (const auto& [role, of_layers] : ridges)
    out["ridges"][std::string(arch::role_name(role))] = of_layers;
  if (!sizes.is_null()) out["sizes"] = sizes;
  core::write_text_file(directory + "/importance.json", out.dump(1) + "\n");
}

Task task_for(const checkpoint::Checkpoint& source, const PruneOptions& options,
              const arch::ModelDims& predicted) {
  const arch::ModelDims &before = source.dims(), after = settled(options, before, predicted);
  const std::optional<plan::PrunePlan> given = plan_for(source, options, after);
  std::optional<plan::SizeQuestion> question =
      given ? std::nullopt : open_sizes(options, source.arch(), before);
  if (question) plan::settle(*question, question->stay, predicted);
  const bool by_file = given || !options.scores_path.empty();
  std::vector<arch::LayerDims> sizes =
      given      ? before.layers
      : question ? question->most.layers
                 : plan::resolve_layers(options.target, source.arch(), before, after);
  return {before,
          after,
          criterion_by_name(options.criterion),
          by_file || after.n_layers() == before.n_layers() ? nullptr : layer_criterion(options),
          given,
          std::move(sizes),
          options.ridge,
          options.calibration.seed,
          options.blocks,
          std::move(question),
          given ? "" : options.scores_path};
}

std::vector<std::string> notes_of(const PruneOptions& options, const arch::Arch& arch,
                                  const arch::ModelDims& before,
                                  const std::optional<DecidedSizes>& sizes) {
  if (!options.plan_path.empty()) return {};
  std::vector<std::string> out = plan::smaller_layers(options.target, before);
  if (sizes) out.push_back(sizes->note);
  const auto open =
      plan::size_question(options.target, options.per_layer,
                          {arch::kScoredAxes.begin(), arch::kScoredAxes.end()}, arch, before);
  if (open && open->one_size && !sizes)
    out.push_back("readers of " + std::string(arch.hf_model_type) +
                  " take one size for all layers, so none has its own");
  return out;
}

// Cuts the model as it is. `folder`: where the state is kept.
PruneResult prune_model(const checkpoint::Checkpoint& source, const torch::Tensor& windows,
                        const std::string& directory, const std::string& folder,
                        const PruneOptions& options, const core::Progress& progress) {
  const arch::ModelDims& before = source.dims();
  arch::ModelDims after = check(options, source.arch(), before);
  const std::set<arch::Role> biases = biases_of(options, source.arch(), before, after);
  const model::Transformer dense = layerwise::open_for(source, options.calibration);
  Task task = task_for(source, options, after);
  note_a_missing_refit(task, options.compensation);
  checkpoint::WorkFolder work({.folder = folder,
                               .resume = options.resume,
                               .or_start_over = options.or_start_over,
                               .threads = options.threads,
                               .share = options.state_share},
                              identity_of(task, source, options, windows));
  layerwise::begin(work);
  const layerwise::WalkOptions walk{.progress = progress,
                                    .batch_tokens = options.calibration.batch_tokens};
  const Scores scores = scores_for(task, dense, windows, walk, work);
  plan::PrunePlan plan = decide(task, scores, source.arch());
  const double gains = gain_factor(options, before.hidden, after.hidden);
  const auto pass = [&] {
    SequentialInput input = pass_of(task, dense, windows, options.compensation, plan);
    input.walk = walk;
    input.biases = biases;
    input.gain_factor = gains;
    return input;
  };
  std::optional<DecidedSizes> sizes;
  if (task.question) sizes = settle_sizes(task, scores, pass(), work, plan);
  // Those of a file say nothing of how they came to be.
  const bool knows_layers = scores.all.contains("layers") && task.scores_path.empty();

  Influence influence(kLayerWindows);
  SequentialResult passed;
  if (cuts_width(before, plan, kept_sizes(task, plan)) || refits(options.compensation)) {
    SequentialInput input = pass();
    input.walk.work = &work;
    if (!knows_layers) input.watchers = {&influence};
    passed = prune_sequentially(input);
    plan.layers = std::move(passed.layers);
  }
  plan.source_sha256 = source.sha256();
  if (options.vocab) plan.vocab = options.vocab;
  PruneResult out;
  out.parameters_before = arch::parameters(source.arch(), before);
  surgery::Replacement replacement = options.compensation == Compensation::merge
                                         ? surgery::merge_dropped(source, plan)
                                         : replacement_of(passed.replaced, after);
  replacement.adjust = scale_stream(source.arch(), gains);
  out.parameters_after =
      surgery::prune_checkpoint(source, plan, directory, options.write, replacement, progress);
  write_report(directory, task, plan,
               knows_layers ? scores.of_layers(task.drop()) : influence.of_layers, passed.ridges,
               sizes ? sizes->about : nlohmann::ordered_json());
  work.remove();
  out.notes = notes_of(options, source.arch(), before, sizes);
  out.plan = std::move(plan);
  return out;
}

}  // namespace

PruneResult prune(const checkpoint::Checkpoint& source, const std::string& directory,
                  const PruneOptions& options, const core::Progress& progress) {
  static_cast<void>(check(options, source.arch(), source.dims()));
  const torch::Tensor windows = load_windows(source, options.texts, options.held_out_path,
                                             options.reading, options.calibration, progress);
  const auto cut = [&](const checkpoint::Checkpoint& model, const std::string& folder) {
    return prune_model(model, windows, directory, folder, options, progress);
  };
  return turns_stream(options) ? prune_turned(source, windows, directory, options, progress, cut)
                               : cut(source, directory + "/checkpoint");
}

ScoreResult score(const checkpoint::Checkpoint& source, const ScoreOptions& options,
                  const core::Progress& progress) {
  const text::CalibrationOptions& calibration = options.calibration;
  require_channels(options.criterion);
  const Criterion& criterion = criterion_by_name(options.criterion);
  const torch::Tensor windows =
      load_windows(source, options.texts, "", options.reading, calibration, progress);
  checkpoint::WorkFolder work(
      options.work, layerwise::identity_of({{"verb", "score"},
                                            {"algorithm", checkpoint::algorithm_version("prune")},
                                            {"source", source.sha256()},
                                            {"seed", calibration.seed},
                                            {"criterion", criterion.name}},
                                           windows, calibration));
  layerwise::begin(work);
  if (options.work.resume && (any_backward(criterion.needs) || criterion.axes.empty()))
    core::note("--resume: criterion '" + options.criterion + "' " +
               (criterion.axes.empty() ? "scores layers or blocks" : "reads gradients") +
               ", of which nothing is kept, so it starts over");
  const model::Transformer dense = layerwise::open_for(source, calibration);
  const layerwise::WalkOptions walk{
      .progress = progress, .batch_tokens = calibration.batch_tokens, .work = &work};
  Scores scores;
  scores.criterion = options.criterion;
  scores.tokens = windows.numel();
  if (!criterion.axes.empty())
    scores = score_model(dense, windows, criterion, criterion.axes, walk, calibration.seed);
  if (criterion.layers != nullptr || criterion.blocks != nullptr)
    score_layers(criterion, {dense, windows, walk, calibration.seed}, scores);
  scores.source_sha256 = source.sha256();
  write_scores(scores, options.out_path);
  work.remove();
  ScoreResult out{options.criterion, scores.tokens, {}};
  if (scores.all.contains("layers")) out.axes.emplace_back("layers");
  if (scores.all.contains("blocks.ffn")) out.axes.emplace_back("blocks");
  for (const Axis axis : arch::kScoredAxes)
    if (scores.has(axis)) out.axes.emplace_back(arch::axis_name(axis));
  if (scores.has(Axis::hidden)) out.axes.emplace_back(arch::axis_name(Axis::hidden));
  return out;
}

}  // namespace espalier::prune
