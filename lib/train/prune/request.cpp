// SPDX-License-Identifier: Apache-2.0
// Everything here is known before a text or a tensor is read.
#include "prune/request.h"

#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "prune/choose.h"
#include "prune/choose_sizes.h"
#include "prune/rotation.h"
#include "surgery/merge.h"

namespace espalier::prune {
namespace {

using arch::Axis;

plan::PrunePlan read_plan(const PruneOptions& options, const arch::ModelDims& before) {
  plan::PrunePlan plan = plan::prune_plan_from_json(core::read_text_file(options.plan_path), before,
                                                    options.plan_path);
  plan::require_channels(plan, options.plan_path);
  return plan;
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

// What is left to choose within a total; nothing where no total is given, and beside --per-layer
// where readers know one size. `scored`: axes.
std::optional<plan::SizeQuestion> open_sizes(const PruneOptions& options,
                                             const std::set<Axis>& scored, const arch::Arch& arch,
                                             const arch::ModelDims& before) {
  if (!options.plan_path.empty() || options.blocks) return std::nullopt;
  auto out = plan::size_question(options.target, options.per_layer, scored, arch, before);
  if (out && out->one_size && options.per_layer) out.reset();
  return out;
}

// The axes that scores of a file decide about. Where one is missing, it is told by its name.
std::set<Axis> axes_of(const Scores& scores, const PruneOptions& options) {
  std::set<Axis> out;
  for (const Axis axis : arch::kScoredAxes)
    if (options.per_layer || scores.has(axis)) out.insert(axis);
  return out;
}

// Whether scores of a file are all that decides. A text that refits also compares sizes.
bool scores_alone(const PruneOptions& options) {
  return !options.scores_path.empty() && !refits(options.compensation);
}

void require_scores(const Scores& scores, const plan::SizeQuestion& question,
                    const arch::ModelDims& before) {
  for (std::size_t l = 0; l < before.layers.size(); ++l)
    for (const Axis axis : question.axes)
      if (before.layers[l][axis] > 0)
        static_cast<void>(scores.at(scores_name(axis, static_cast<int>(l))));
}

plan::PrunePlan plan_of_scores(const PruneOptions& options, const Scores& scores,
                               const arch::Arch& arch, const arch::ModelDims& before,
                               const arch::ModelDims& after) {
  if (options.blocks) return choose_blocks(scores, arch, before, *options.blocks);
  std::optional<plan::SizeQuestion> question =
      open_sizes(options, axes_of(scores, options), arch, before);
  plan::PrunePlan equal =
      choose(scores, before, settled(options, before, after),
             plan::resolve_layers(options.target, arch, before, after), !question);
  if (!question) return equal;
  require_scores(scores, *question, before);
  if (!scores_alone(options)) return equal;  // but for the sizes, which are yet to be compared
  plan::settle(*question, equal.keep_layers, after);
  plan::PrunePlan out = plan_by_scores(*question, scores, before);
  out.hidden = equal.hidden;
  return out;
}

// What a file decides, a plan or scores; nothing without one.
std::optional<plan::PrunePlan> given_plan(const PruneOptions& options, const arch::Arch& arch,
                                          const arch::ModelDims& before,
                                          const arch::ModelDims& after) {
  if (!options.plan_path.empty()) return read_plan(options, before);
  if (options.scores_path.empty()) return std::nullopt;
  try {
    const Scores scores = read_scores(options.scores_path, before);
    plan::PrunePlan plan = plan_of_scores(options, scores, arch, before, after);
    plan.source_sha256 = scores.source_sha256;
    return plan;
  } catch (const core::Error& error) {
    if (std::string(error.what()).find(options.scores_path) != std::string::npos) throw;
    core::fail(error.kind(), options.scores_path, ": ", error.what());
  }
}

}  // namespace

std::optional<plan::SizeQuestion> open_sizes(const PruneOptions& options, const arch::Arch& arch,
                                             const arch::ModelDims& before) {
  if (scores_alone(options)) return std::nullopt;
  return open_sizes(options,
                    options.scores_path.empty()
                        ? criterion_by_name(options.criterion).axes
                        : axes_of(read_scores(options.scores_path, before), options),
                    arch, before);
}

// Predicted sizes with as many layers as are known to stay before sizes are chosen.
arch::ModelDims settled(const PruneOptions& options, const arch::ModelDims& before,
                        arch::ModelDims after) {
  if (options.plan_path.empty() && !options.target.layers)
    after.layers.resize(before.layers.size());
  return after;
}

// What a file decides, which has to be of this model. Nothing where sizes are yet to be chosen.
std::optional<plan::PrunePlan> plan_for(const checkpoint::Checkpoint& source,
                                        const PruneOptions& options, const arch::ModelDims& after) {
  std::optional<plan::PrunePlan> given = given_plan(options, source.arch(), source.dims(), after);
  if (given)
    plan::require_source(*given, source.path(), source.sha256(),
                         options.plan_path.empty() ? options.scores_path : options.plan_path);
  if (given && open_sizes(options, source.arch(), source.dims())) given.reset();
  return given;
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

namespace {

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

// The cut of each layer, in case it stays.
std::vector<LayerCut> layer_cuts(const PruneOptions& options, const arch::Arch& arch,
                                 const arch::ModelDims& before, const arch::ModelDims& after) {
  std::vector<LayerCut> out;
  if (options.plan_path.empty()) {
    auto sizes = plan::resolve_layers(options.target, arch, before, after);
    if (const auto question = open_sizes(options, arch, before))
      for (arch::LayerDims& layer : sizes)
        for (const Axis axis : question->axes) layer[axis] /= 2;  // less, whatever is chosen
    for (std::size_t l = 0; l < sizes.size(); ++l) out.push_back({before.layers[l], sizes[l]});
    return out;
  }
  const std::vector<std::int64_t> kept = read_plan(options, before).keep_layers;
  for (std::size_t k = 0; k < kept.size(); ++k)
    out.push_back({before.layers[static_cast<std::size_t>(kept[k])], after.layers[k]});
  return out;
}

// Sizes by a plan, and of a vocabulary that is chosen beside it.
arch::ModelDims planned_sizes(const PruneOptions& options, const arch::ModelDims& before) {
  arch::ModelDims after = plan::dims_after(read_plan(options, before), before);
  if (!options.target.vocab) return after;
  ESP_CHECK(after.vocab == before.vocab, usage, options.plan_path, ": the plan keeps ", after.vocab,
            " of ", before.vocab,
            " tokens, so there is no choice of a vocabulary beside it; leave one of the two out");
  after.vocab = *options.target.vocab;
  return after;
}

// Refuses sizes that the criterion does not score.
void check_scored(const PruneOptions& options, const arch::Arch& arch,
                  const arch::ModelDims& before, const arch::ModelDims& after) {
  const auto question = open_sizes(options, arch, before);
  // Of a total those that are given, unless no axis is scored that could meet it.
  const bool given = question && !options.per_layer && !question->axes.empty();
  const auto sizes = given ? question->most.layers
                     : options.target.parameters
                         ? plan::resolve(options.target, arch, before).layers
                         : plan::resolve_layers(options.target, arch, before, after);
  const Criterion& criterion = criterion_by_name(options.criterion);
  require_scored(criterion, Axis::hidden, before.hidden, after.hidden);
  for (std::size_t l = 0; l < sizes.size(); ++l)
    for (const Axis axis : arch::kScoredAxes)
      require_scored(criterion, axis, before.layers[l][axis], sizes[l][axis]);
}

// As far as it is known which layers go.
void check_merge(const PruneOptions& options, const arch::Arch& arch, const arch::ModelDims& before,
                 const arch::ModelDims& after) {
  if (options.compensation != Compensation::merge) return;
  if (const auto given = given_plan(options, arch, before, after))
    surgery::require_mergeable(arch, before, *given);
  else if (!options.blocks && after.n_layers() == before.n_layers())
    surgery::require_mergeable(arch, before, plan::keep_all(before));
}

// Sizes after the cut, before compensation changes any.
arch::ModelDims checked_sizes(const PruneOptions& options, const arch::Arch& arch,
                              const arch::ModelDims& before) {
  if (options.blocks) {
    check_blocks(options, arch, before);
    return before;
  }
  if (!options.plan_path.empty()) return planned_sizes(options, before);
  arch::ModelDims after = plan::resolve(options.target, arch, before);
  const std::int64_t has = arch::parameters(arch, before);
  ESP_CHECK(!options.target.parameters || arch::parameters(arch, after) < has, usage,
            "--parameters ", *options.target.parameters,
            ": nothing would be cut, for the model has only ", has, " parameters; give fewer");
  ESP_CHECK(arch::parameters(arch, after) < has || turns_stream(options), usage,
            "nothing would be cut: the model has these sizes already; give smaller layers, "
            "hidden, ffn, kv_groups, vocab or parameters (`espalier inspect` prints the sizes)");
  const auto& query_heads = options.target.sizes[Axis::q_per_kv];
  for (std::size_t l = 0; query_heads && l < before.layers.size(); ++l)
    ESP_CHECK(before.layers[l][Axis::q_per_kv] <= *query_heads, usage, "q_per_kv ", *query_heads,
              ": no criterion scores the query heads of a KV group (",
              before.layers[l][Axis::q_per_kv], " here); give a plan that keeps the wanted heads");
  static_cast<void>(layer_criterion(options));
  if (options.scores_path.empty()) {
    check_scored(options, arch, before, after);
    return after;
  }
  const std::optional<plan::PrunePlan> plan = given_plan(options, arch, before, after);
  if (scores_alone(options) && (options.per_layer || options.target.parameters))
    after.layers = plan::dims_after(*plan, before).layers;
  return after;
}

}  // namespace

std::set<arch::Role> biases_of(const PruneOptions& options, const arch::Arch& arch,
                               const arch::ModelDims& before, arch::ModelDims& after) {
  if (options.compensation != Compensation::bias) return {};
  return add_biases(arch, layer_cuts(options, arch, before, after), before, after);
}

arch::ModelDims check(const PruneOptions& options, const arch::Arch& arch,
                      const arch::ModelDims& dims) {
  const arch::ModelDims before = dims_to_cut(options, arch, dims);
  arch::ModelDims after = checked_sizes(options, arch, before);
  static_cast<void>(biases_of(options, arch, before, after));
  check_merge(options, arch, before, after);
  require_hidden(options);
  static_cast<void>(checkpoint::hf_family_for(arch, after));
  return after;
}

}  // namespace espalier::prune
