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
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "data/mixture.h"
#include "layerwise/backward.h"
#include "layerwise/saved.h"
#include "layerwise/windows.h"
#include "plan/memory.h"
#include "prune/bias.h"
#include "prune/choose.h"
#include "prune/criteria/loss.h"
#include "prune/criterion.h"
#include "prune/influence.h"
#include "prune/sequential.h"
#include "surgery/surgery.h"

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

// What a file decides, a plan or scores; nothing without one.
std::optional<plan::PrunePlan> given_plan(const PruneOptions& options, const arch::Arch& arch,
                                          const arch::ModelDims& before,
                                          const arch::ModelDims& after) {
  if (!options.plan_path.empty()) return read_plan(options, before);
  if (options.scores_path.empty()) return std::nullopt;
  try {
    const Scores scores = read_scores(options.scores_path, before);
    plan::PrunePlan plan =
        options.blocks ? choose_blocks(scores, arch, before, *options.blocks)
                       : choose(scores, before, after,
                                plan::resolve_layers(options.target, arch, before, after), true);
    plan.source_sha256 = scores.source_sha256;
    return plan;
  } catch (const core::Error& error) {
    if (std::string(error.what()).find(options.scores_path) != std::string::npos) throw;
    core::fail(error.kind(), options.scores_path, ": ", error.what());
  }
}

// What a file decides, which has to be of this model.
std::optional<plan::PrunePlan> plan_for(const checkpoint::Checkpoint& source,
                                        const PruneOptions& options, const arch::ModelDims& after) {
  std::optional<plan::PrunePlan> given = given_plan(options, source.arch(), source.dims(), after);
  if (given)
    plan::require_source(*given, source.path(), source.sha256(),
                         options.plan_path.empty() ? options.scores_path : options.plan_path);
  return given;
}

// What one run cuts.
struct Task {
  const arch::ModelDims& before;
  const arch::ModelDims after;
  const Criterion& criterion;
  const Criterion* const of_layers;  // whose scores decide which layers go; null: block influence
  const std::optional<plan::PrunePlan> given;
  const std::vector<arch::LayerDims> sizes;  // wanted of each layer of `before`
  const std::optional<double> ridge;
  const std::uint64_t seed;
  const std::optional<std::int64_t> blocks;

  // How many layers the scores drop.
  std::int64_t drop() const { return given ? 0 : before.n_layers() - after.n_layers(); }
  // One pass over the model scores everything, before anything is cut.
  bool scores_all() const { return !given && !blocks && criterion.scope == Scope::model; }
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
      {"batch", options.calibration.batch_tokens},
      {"layers", task.after.n_layers()},
      {"hidden", task.after.hidden}};
  for (const arch::LayerDims& l : task.sizes)
    identity["sizes"].push_back({l[Axis::kv_groups], l[Axis::q_per_kv], l[Axis::ffn]});
  return layerwise::identity_of(identity, windows);
}

// The scores that choose() needs. `work` keeps those that took passes over everything.
Scores scores_for(const Task& task, const model::Transformer& dense, const torch::Tensor& windows,
                  const layerwise::WalkOptions& walk, checkpoint::WorkFolder& work) {
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
  return choose(scores, task.before, task.after, task.sizes, task.scores_all());
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

// Whose scores of layers decide; null: block influence.
const Criterion* layer_criterion(const PruneOptions& options) {
  const Criterion& criterion = criterion_by_name(
      options.layer_criterion.empty() ? options.criterion : options.layer_criterion);
  if (criterion.layers != nullptr) return &criterion;
  if (options.layer_criterion.empty()) return nullptr;
  std::string able;
  for (const Criterion* c : all_criteria())
    if (c->layers != nullptr) able += (able.empty() ? "" : ", ") + std::string(c->name);
  core::fail(core::ErrorKind::usage, "layer_criterion: '", criterion.name,
             "' does not score whole layers; choose among ", able);
}

void note_a_missing_refit(const Task& task, Compensation compensation) {
  if (task.given || !task.criterion.assumes_refit || compensation != Compensation::none) return;
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
                  const std::map<arch::Role, std::vector<double>>& ridges) {
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
  core::write_text_file(directory + "/importance.json", out.dump(1) + "\n");
}

text::CalibrationOptions few(text::CalibrationOptions calibration) {
  calibration.tokens = std::min(calibration.tokens, kLayerWindows * calibration.sequence);
  return calibration;
}

// With a stream for every layer or block that is left out (criteria/loss.h), the output matrix and
// some logits.
std::int64_t part_score_memory(const Criterion& criterion, const arch::Arch& arch,
                               const arch::ModelDims& dims,
                               const text::CalibrationOptions& calibration) {
  const std::int64_t streams = layerwise::walk_back_bytes(dims, calibration.tokens);
  return plan::layer_stage_memory(arch, dims,
                                  {.tokens = calibration.tokens,
                                   .batch_tokens = calibration.batch_tokens,
                                   .sums = false,
                                   .streams = 1,
                                   .more = (criterion.blocks == nullptr ? 1 : 2) * streams +
                                           4 * dims.vocab * (dims.hidden + 3 * kLossTokens)});
}

// Refuses a number of blocks that cannot stay, and a criterion that does not score blocks.
void check_blocks(const PruneOptions& options, const arch::Arch& arch,
                  const arch::ModelDims& before) {
  const std::int64_t keep = *options.blocks;
  const auto present = static_cast<std::int64_t>(present_blocks(arch, before).size());
  ESP_CHECK(keep >= 1 && keep < present, usage, "blocks ", keep, ": the model has ", present,
            " attention and FFN blocks; keep at least one, and fewer than it has");
  arch::ModelDims lacking = before;
  lacking.layers.back()[Axis::ffn] = 0;
  static_cast<void>(checkpoint::hf_family_for(arch, lacking));
  if (!options.scores_path.empty()) {
    static_cast<void>(given_plan(options, arch, before, before));
    return;
  }
  std::string able;
  for (const Criterion* c : all_criteria())
    if (c->blocks != nullptr) able += (able.empty() ? "" : ", ") + std::string(c->name);
  ESP_CHECK(criterion_by_name(options.criterion).blocks != nullptr, usage, "blocks ", keep,
            ": criterion '", options.criterion, "' does not score blocks; choose among ", able);
}

Task task_for(const checkpoint::Checkpoint& source, const PruneOptions& options,
              const arch::ModelDims& after) {
  const arch::ModelDims& before = source.dims();
  const std::optional<plan::PrunePlan> given = plan_for(source, options, after);
  return {
      before,
      after,
      criterion_by_name(options.criterion),
      given || after.n_layers() == before.n_layers() ? nullptr : layer_criterion(options),
      given,
      given ? before.layers : plan::resolve_layers(options.target, source.arch(), before, after),
      options.ridge,
      options.calibration.seed,
      options.blocks};
}

// The cut of each layer, in case it stays.
std::vector<LayerCut> layer_cuts(const PruneOptions& options, const arch::Arch& arch,
                                 const arch::ModelDims& before, const arch::ModelDims& after) {
  std::vector<LayerCut> out;
  if (options.plan_path.empty()) {
    const auto sizes = plan::resolve_layers(options.target, arch, before, after);
    for (std::size_t l = 0; l < sizes.size(); ++l) out.push_back({before.layers[l], sizes[l]});
    return out;
  }
  const std::vector<std::int64_t> kept = read_plan(options, before).keep_layers;
  for (std::size_t k = 0; k < kept.size(); ++k)
    out.push_back({before.layers[static_cast<std::size_t>(kept[k])], after.layers[k]});
  return out;
}

// Sizes after the cut, before compensation changes any.
arch::ModelDims checked_sizes(const PruneOptions& options, const arch::Arch& arch,
                              const arch::ModelDims& before) {
  arch::ModelDims after;
  if (options.blocks) {
    check_blocks(options, arch, before);
    return before;
  }
  if (!options.plan_path.empty()) {
    after = plan::dims_after(read_plan(options, before), before);
    if (options.target.vocab) {
      ESP_CHECK(
          after.vocab == before.vocab, usage, options.plan_path, ": the plan keeps ", after.vocab,
          " of ", before.vocab,
          " tokens, so there is no choice of a vocabulary beside it; leave one of the two out");
      after.vocab = *options.target.vocab;
    }
  } else {
    after = plan::resolve(options.target, arch, before);
    ESP_CHECK(arch::parameters(arch, after) < arch::parameters(arch, before), usage,
              "nothing would be cut: the model has these sizes already; give smaller layers, "
              "hidden, ffn, kv_groups, vocab or parameters (`espalier inspect` prints the sizes)");
    const auto& query_heads = options.target.sizes[Axis::q_per_kv];
    for (std::size_t l = 0; query_heads && l < before.layers.size(); ++l)
      ESP_CHECK(before.layers[l][Axis::q_per_kv] <= *query_heads, usage, "q_per_kv ", *query_heads,
                ": no criterion scores the query heads of a KV group (",
                before.layers[l][Axis::q_per_kv],
                " here); give a plan that keeps the wanted heads");
    const Criterion& criterion = criterion_by_name(options.criterion);
    static_cast<void>(layer_criterion(options));
    const auto sizes = plan::resolve_layers(options.target, arch, before, after);
    if (!options.scores_path.empty()) {
      static_cast<void>(given_plan(options, arch, before, after));
      return after;
    }
    require_scored(criterion, Axis::hidden, before.hidden, after.hidden);
    for (std::size_t l = 0; l < sizes.size(); ++l)
      for (const Axis axis : arch::kScoredAxes)
        require_scored(criterion, axis, before.layers[l][axis], sizes[l][axis]);
  }
  return after;
}

std::set<arch::Role> biases_of(const PruneOptions& options, const arch::Arch& arch,
                               const arch::ModelDims& before, arch::ModelDims& after) {
  if (options.compensation != Compensation::bias) return {};
  return add_biases(arch, layer_cuts(options, arch, before, after), before, after);
}

}  // namespace

arch::ModelDims check(const PruneOptions& options, const arch::Arch& arch,
                      const arch::ModelDims& before) {
  arch::ModelDims after = checked_sizes(options, arch, before);
  static_cast<void>(biases_of(options, arch, before, after));
  static_cast<void>(checkpoint::hf_family_for(arch, after));
  return after;
}

PruneResult prune(const checkpoint::Checkpoint& source, const std::string& directory,
                  const PruneOptions& options, const core::Progress& progress) {
  const arch::ModelDims& before = source.dims();
  arch::ModelDims after = check(options, source.arch(), before);
  const std::set<arch::Role> biases = biases_of(options, source.arch(), before, after);
  const torch::Tensor windows = load_windows(source, options.texts, options.held_out_path,
                                             options.reading, options.calibration, progress);
  const model::Transformer dense = model::Transformer::open(source);
  const Task task = task_for(source, options, after);
  note_a_missing_refit(task, options.compensation);
  checkpoint::WorkFolder work({.folder = directory + "/checkpoint",
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

  Influence influence(kLayerWindows);
  SequentialResult passed;
  if (cuts_width(before, plan, kept_sizes(task, plan)) ||
      options.compensation != Compensation::none) {
    SequentialInput input = pass_of(task, dense, windows, options.compensation, plan);
    input.walk = walk;
    input.walk.work = &work;
    input.biases = biases;
    if (!scores.all.contains("layers")) input.watchers = {&influence};
    passed = prune_sequentially(input);
    plan.layers = std::move(passed.layers);
  }
  plan.source_sha256 = source.sha256();
  if (options.vocab) plan.vocab = options.vocab;
  PruneResult out;
  out.parameters_before = arch::parameters(source.arch(), before);
  out.parameters_after = surgery::prune_checkpoint(
      source, plan, directory, options.write, replacement_of(passed.replaced, after), progress);
  write_report(directory, task, plan,
               scores.all.contains("layers") ? scores.of_layers(task.drop()) : influence.of_layers,
               passed.ridges);
  work.remove();
  if (options.plan_path.empty()) out.notes = plan::smaller_layers(options.target, before);
  out.plan = std::move(plan);
  return out;
}

std::int64_t peak_memory(const PruneOptions& options, const arch::Arch& arch,
                         const arch::ModelDims& dims) {
  const bool planned = !options.plan_path.empty() || !options.scores_path.empty(),
             pass = !planned || options.compensation != Compensation::none;
  // Refitted layers wait in memory until they are written.
  const arch::ModelDims after = check(options, arch, dims);
  std::int64_t refitted = 0;
  if (pass && options.compensation == Compensation::least_squares)
    for (const arch::TensorRef& t : arch::tensors(arch, after))
      if (t.layer >= 0) refitted += 4 * t.elements();
  const StatisticNames needs =
      planned ? StatisticNames() : criterion_by_name(options.criterion).needs;
  const std::int64_t of_pass =
      plan::layer_stage_memory(arch, dims,
                               {.tokens = options.calibration.tokens,
                                .batch_tokens = options.calibration.batch_tokens,
                                .follows = pass,
                                .streams = 1,
                                .more = refitted + bytes_of(needs, arch, dims)});
  if (planned) return of_pass;
  std::int64_t most = of_pass;
  if (criterion_by_name(options.criterion).scope == Scope::model)
    most = std::max(most, score_memory(options.criterion, arch, dims, options.calibration));
  const Criterion* of_layers =
      options.blocks ? &criterion_by_name(options.criterion) : layer_criterion(options);
  if (of_layers && of_layers->rounds && (options.blocks || after.n_layers() < dims.n_layers()))
    most = std::max(most, part_score_memory(*of_layers, arch, dims, few(options.calibration)));
  return most;
}

std::int64_t score_memory(const std::string& criterion, const arch::Arch& arch,
                          const arch::ModelDims& dims,
                          const text::CalibrationOptions& calibration) {
  const Criterion& c = criterion_by_name(criterion);
  const std::int64_t back =
      any_backward(c.needs) ? layerwise::walk_back_bytes(dims, calibration.tokens) : 0;
  const std::int64_t of_sums =
      plan::layer_stage_memory(arch, dims,
                               {.tokens = calibration.tokens,
                                .batch_tokens = calibration.batch_tokens,
                                .streams = 2,  // of block influence
                                .more = bytes_of(c.needs, arch, dims) + back});
  return c.rounds == nullptr ? of_sums
                             : std::max(of_sums, part_score_memory(c, arch, dims, calibration));
}

ScoreResult score(const checkpoint::Checkpoint& source, const ScoreOptions& options,
                  const core::Progress& progress) {
  const text::CalibrationOptions& calibration = options.calibration;
  const Criterion& criterion = criterion_by_name(options.criterion);
  const torch::Tensor windows =
      load_windows(source, options.texts, "", options.reading, calibration, progress);
  checkpoint::WorkFolder work(
      options.work, layerwise::identity_of({{"verb", "score"},
                                            {"algorithm", checkpoint::algorithm_version("prune")},
                                            {"source", source.sha256()},
                                            {"batch", calibration.batch_tokens},
                                            {"seed", calibration.seed},
                                            {"criterion", criterion.name}},
                                           windows));
  layerwise::begin(work);
  if (options.work.resume && (any_backward(criterion.needs) || criterion.axes.empty()))
    core::note("--resume: criterion '" + options.criterion + "' " +
               (criterion.axes.empty() ? "scores layers or blocks" : "reads gradients") +
               ", of which nothing is kept, so it starts over");
  const model::Transformer dense = model::Transformer::open(source);
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
