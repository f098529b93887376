// SPDX-License-Identifier: Apache-2.0
// Structured pruning: statistics of a text, scores or a given plan decide what is kept. Without
// text it needs no LibTorch.
#include <algorithm>
#include <optional>

#include "checkpoint/manifest.h"
#include "checkpoint/modeling.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/output.h"
#include "core/units.h"
#include "plan/memory.h"
#include "plan/prune_plan.h"
#include "plan/vocabulary_choice.h"
#include "stages/calibration.h"
#include "stages/told.h"
#include "stages/weight.h"
#include "surgery/merge.h"
#ifdef ESPALIER_WITH_TRAINING
#include "prune/choose.h"
#include "prune/pruner.h"
#include "stages/layers_out.h"
#include "stages/texts.h"
#include "stages/work.h"
#endif

namespace espalier::stages {
namespace {

using Json = nlohmann::ordered_json;

class Prune : public Stage {
 public:
  options::List options() override;
  std::vector<Input> inputs() const override;
  std::vector<Output> outputs() const override {
    return {{Artifact::model, "model"},
            {Artifact::prune_plan, "model/plan.json"},
            {Artifact::importance, "model/importance.json"}};
  }
  void check(const options::Given& given, const std::set<std::string>& inputs) override;
  bool reads(const std::string& key) const override {
    if (key == "text") return calibrates_ || vocabulary_.given();
    return key != "held_out" || calibrates_;
  }
  void predict(Forecast& forecast) const override;
  Result run(const Context& context) override;

 private:
  bool refits() const { return compensate_ == "bias" || compensate_ == "least_squares"; }
  std::int64_t file_memory(const arch::Arch& arch, const arch::ModelDims& dims) const {
    return plan::file_stage_memory(arch, dims) +
           (compensate_ == "merge" ? surgery::merge_bytes(arch, dims) : 0);
  }
  checkpoint::WriteOptions write_options(const checkpoint::Checkpoint& source) const;
  void check_per_layer(const options::Given& given);
  void check_merge(const options::Given& given, const std::set<std::string>& inputs);
  void check_text(const options::Given& given, const std::set<std::string>& inputs);
  std::optional<plan::VocabularyChoice> choose_tokens(const Context& context,
                                                      const checkpoint::Checkpoint& source);
  // A plan, a vocabulary, or both, and nothing is refitted.
  Result cut_as_it_stands(const Context& context, const checkpoint::Checkpoint& source,
                          const std::optional<plan::VocabularyChoice>& tokens) const;
  Result calibrate_and_cut(const Context& context, const checkpoint::Checkpoint& source,
                           const std::optional<plan::VocabularyChoice>& tokens);
  Result told(const Context& context, std::int64_t before, std::int64_t after,
              const std::vector<std::string>& notes) const;
#ifdef ESPALIER_WITH_TRAINING
  prune::PruneOptions settings(const std::string& plan, const std::string& scores) const;
  void predict_vocabulary(const Forecast& forecast, plan::PruneTarget& target) const;
  void predict_work(const prune::PruneOptions& settings, const arch::ModelDims& after,
                    Forecast& forecast) const;
  void predict_choices(const prune::PruneOptions& settings, timing::PruneWork work,
                       Forecast& forecast) const;
#endif

  plan::PruneTarget target_;
  bool per_layer_ = false;
  std::optional<std::int64_t> blocks_;
  plan::VocabularyTarget vocabulary_;
  std::string criterion_ = "activation", layer_criterion_, compensate_, dtype_ = "auto";
  // A pass over the text scores or refits. Not where a plan or scores decide and nothing is
  // refitted, nor where the vocabulary alone is cut.
  bool calibrates_ = true;
  std::optional<double> ridge_;
  std::int64_t shard_bytes_ = 5'000'000'000;
  text::CalibrationOptions calibration_;
};

std::vector<std::string> criteria(bool of_layers) {
  std::vector<std::string> names;
#ifdef ESPALIER_WITH_TRAINING
  for (const prune::CriterionFacts& facts : prune::criterion_facts())
    if (!of_layers || facts.scores_layers) names.push_back(facts.name);
#endif
  return names;
}

options::List Prune::options() {
  options::List list;
  list.begin_group("sizes to keep");
  list.add("layers", &target_.layers, "layers to keep").otherwise("all");
  list.add("hidden", &target_.hidden, "hidden size to keep").otherwise("all");
  for (const arch::Axis axis : arch::kCutAxes)
    list.add(std::string(arch::axis_name(axis)), &target_.sizes[axis],
             std::string(plan::size_help(axis)))
        .otherwise("all");
  list.add("per_layer", &per_layer_,
           "the total of ffn and kv_groups is shared out: each layer keeps what it needs most");
  list.add("blocks", &blocks_,
           "attention and FFN blocks to keep, of all layers together; no other size beside it")
      .at_least(1)
      .otherwise("all");
  list.add("vocab", &vocabulary_.size,
           "tokens to keep: the most frequent of the text, and what they need")
      .otherwise("all");
  list.add("vocab_coverage", &vocabulary_.coverage,
           "instead of a number of tokens: the share of the text's tokens to keep, such as 0.999")
      .between(0, 1)
      .above(0)
      .otherwise("all");
  list.add("parameters", &target_.parameters,
           "at most so many parameters, such as 92M: the other sizes are chosen, for each layer")
      .otherwise("no limit");
  list.add("ffn_granule", &target_.ffn_granule, "ffn is a multiple of it").at_least(1);
  list.add("hidden_granule", &target_.hidden_granule, "hidden is a multiple of it").at_least(1);
  list.begin_group("what to keep, and how the rest is refitted");
  list.add("criterion", &criterion_, "importance criterion").one_of(criteria(false));
  list.add("layer_criterion", &layer_criterion_, "which layers go, where fewer are asked for")
      .one_of(criteria(true))
      .otherwise("that of criterion where it scores layers, else block_influence");
  list.add("compensate", &compensate_,
           "how the rest takes over: refitted to the text, or by merge, which reads none: dropped "
           "layers are merged into those that stay")
      .one_of({"none", "bias", "least_squares", "merge"})
      .otherwise(
          "least_squares where text decides; none beside a plan or scores, unless a text is "
          "given for it");
  list.add("ridge", &ridge_, "of least squares: how much the original weights count")
      .between(0, 1e9)
      .otherwise("chosen for each matrix by windows that its fit did not see");
  list.append(describe(calibration_));
  list.begin_group("output");
  list.add("dtype", &dtype_,
           "type of the weights; auto: as the source where nothing is scored, refitted or merged, "
           "else f32")
      .one_of({"auto", "f32", "f16", "bf16"});
  list.add("shard_bytes", &shard_bytes_, "largest file of weights").in_bytes().at_least(1);
  return list;
}

std::vector<Input> Prune::inputs() const {
  return {{"from", "model", "model to prune", {Artifact::model, Artifact::gguf}, "teacher", true},
          calibration_text("text to calibrate on, and to count tokens of"),
          {"held_out",
           "--held-out",
           "text that must not occur in the calibration text",
           {Artifact::text},
           "text.held_out"},
          {"plan",
           "--plan",
           "what to keep, as another run wrote it (plan.json)",
           {Artifact::prune_plan}},
          {"scores",
           "--scores",
           "importance that decides what is kept, as 'score' writes it",
           {Artifact::scores}}};
}

void Prune::check(const options::Given& given, const std::set<std::string>& inputs) {
  const bool has_plan = inputs.contains("plan"), has_scores = inputs.contains("scores");
  if (has_plan)
    given.refuse_unused(
        "beside " + given.spelled("plan") + ", which says what is kept",
        {"layers", "hidden", "ffn", "kv_groups", "q_per_kv", "per_layer", "parameters",
         "ffn_granule", "hidden_granule", "criterion", "layer_criterion", "blocks", "scores"},
        "leave one of the two out");
  if (has_scores)
    given.refuse_unused("beside " + given.spelled("scores") + ", which decide what is kept",
                        {"criterion", "layer_criterion"}, "leave one of the two out");
  if (blocks_)
    given.refuse_unused(
        "beside " + given.spelled("blocks") + ", which drops blocks and nothing else",
        {"layers", "hidden", "ffn", "kv_groups", "q_per_kv", "per_layer", "vocab", "vocab_coverage",
         "parameters", "ffn_granule", "hidden_granule", "layer_criterion"},
        "prune the result once more for other sizes");
  check_per_layer(given);
  if (!target_.layers)
    given.refuse_unused("where all layers stay", {"layer_criterion"},
                        "give " + given.spelled("layers") + ", or leave it out");
  if (vocabulary_.size && vocabulary_.coverage)
    given.refuse("vocab_coverage", "chooses the number of tokens that " + given.spelled("vocab") +
                                       " gives; leave one of the two out");
  const bool sizes = target_.layers || target_.hidden || target_.parameters || blocks_ ||
                     std::any_of(arch::kCutAxes.begin(), arch::kCutAxes.end(),
                                 [&](arch::Axis axis) { return target_.sizes[axis].has_value(); }),
             only_vocabulary = vocabulary_.given() && !sizes && !has_plan && !has_scores;
  // Beside a plan or scores, a text is there for the fit, unless a vocabulary needs it.
  const bool fits = given.has("text") && !vocabulary_.given();
  if (compensate_.empty())
    compensate_ = only_vocabulary || ((has_plan || has_scores) && !fits) ? "none" : "least_squares";
  calibrates_ = !only_vocabulary && (!(has_plan || has_scores) || refits());
  if (only_vocabulary)
    given.refuse_unused("where the vocabulary alone is cut: nothing is scored or refitted",
                        {"criterion", "ridge", "ffn_granule", "hidden_granule"}, "leave it out");
  if (only_vocabulary && compensate_ != "none")
    given.refuse("compensate",
                 "nothing is refitted where the vocabulary alone is cut; leave it out");
  if (blocks_ && compensate_ == "bias")
    given.refuse("compensate", "a bias stands for channels that are cut, and " +
                                   given.spelled("blocks") +
                                   " drops whole blocks; choose least_squares or none");
  if (compensate_ == "merge") check_merge(given, inputs);
  check_text(given, inputs);
  if (ridge_ && compensate_ != "least_squares")
    given.refuse("ridge", "belongs to " + given.spelled("compensate") +
                              " least_squares, which needs a text; leave it out");
}

void Prune::check_per_layer(const options::Given& given) {
  if (!per_layer_) return;
  const bool sizes = target_.sizes[arch::Axis::ffn] || target_.sizes[arch::Axis::kv_groups];
  if (target_.parameters && sizes)
    given.refuse("per_layer", "shares out the total of given sizes, and " +
                                  given.spelled("parameters") +
                                  " chooses the sizes of each layer already; leave one out");
  if (target_.parameters) {
    core::note(given.spelled("per_layer") + ": " + given.spelled("parameters") +
               " chooses the sizes of each layer already");
    per_layer_ = false;
  } else if (!sizes) {
    given.refuse("per_layer", "shares out the total of " + given.spelled("ffn") + " or " +
                                  given.spelled("kv_groups") + "; give one of them");
  }
}

void Prune::check_merge(const options::Given& given, const std::set<std::string>& inputs) {
  given.refuse_unused("beside " + given.spelled("compensate") +
                          " merge, which adds up whole blocks: channels and heads of different "
                          "layers do not correspond",
                      {"ffn", "kv_groups", "q_per_kv", "per_layer", "parameters"},
                      "drop layers or blocks alone, and prune the result for other sizes");
  if (!target_.layers && !blocks_ && !inputs.contains("plan") && !inputs.contains("scores"))
    given.refuse("compensate", "merge needs layers or blocks that are dropped; give " +
                                   given.spelled("layers") + " or " + given.spelled("blocks"));
}

// Of the text and of what says how it is read.
void Prune::check_text(const options::Given& given, const std::set<std::string>& inputs) {
  if (vocabulary_.given() && !inputs.contains("text"))
    given.refuse(vocabulary_.size ? "vocab" : "vocab_coverage",
                 "needs a text whose tokens are counted; give " + given.spelled("text"));
  if (calibrates_) {
    if (!inputs.contains("text") && given.has("compensate") && refits())
      given.refuse("compensate", compensate_ + " needs a text to fit to; give " +
                                     given.spelled("text") + ", or leave it out");
    if (!inputs.contains("text"))
      given.refuse("text", "is needed to score; give it, or " + given.spelled("plan") + " or " +
                               given.spelled("scores"));
  } else if (vocabulary_.given()) {
    const std::string cause = "where the text is only counted, and nothing is scored or refitted";
    given.refuse_unused(cause, {"held_out", "seed", "resume"}, "leave it out");
    given.unused(cause, {"tokens", "sequence", "precision"}, "the whole text counts; leave it out");
  } else if (given.has("compensate") && given.has("text")) {
    core::note("no text is read: a plan or scores say what is kept, and nothing is refitted");
  } else {
    const std::string cause = "without " + given.spelled("text") + " to refit to",
                      advice = "what a plan or scores decide is cut as it stands; ask for " +
                               given.spelled("compensate") + " least_squares, or leave it out";
    given.refuse_unused(cause, {"held_out", "seed", "resume"}, advice);
    given.unused(cause, {"tokens", "sequence", "precision"}, advice);
  }
}

// The texts whose tokens a choice of a vocabulary counts, of a context or a forecast.
template <typename Inputs>
std::vector<plan::CountedText> counted(const Inputs& texts) {
  std::vector<plan::CountedText> out;
  for (const auto& text : texts) {
    ESP_CHECK(text.path != kSelf, usage,
              "text self: what the model writes does not say which tokens a user needs; a choice "
              "of a vocabulary counts the tokens of a file");
    out.push_back({text.path, text.weight});
  }
  return out;
}

#ifdef ESPALIER_WITH_TRAINING
prune::PruneOptions Prune::settings(const std::string& plan, const std::string& scores) const {
  prune::PruneOptions out;
  out.target = target_;
  out.per_layer = per_layer_;
  out.blocks = blocks_;
  out.plan_path = plan;
  out.scores_path = scores;
  out.criterion = criterion_;
  out.layer_criterion = layer_criterion_;
  out.compensation = compensate_ == "none"    ? prune::Compensation::none
                     : compensate_ == "bias"  ? prune::Compensation::bias
                     : compensate_ == "merge" ? prune::Compensation::merge
                                              : prune::Compensation::least_squares;
  out.ridge = ridge_;
  out.calibration = calibration_;
  return out;
}

// Sizes that give a model like this one, as far as its layers are equal.
plan::PruneTarget target_like(const arch::ModelDims& dims) {
  plan::PruneTarget out;
  out.layers = dims.n_layers();
  out.hidden = dims.hidden;
  out.vocab = dims.vocab;
  if (dims.uniform())
    for (const arch::Axis axis : arch::kScoredAxes) out.sizes[axis] = dims.layers[0][axis];
  return out;
}

// How many tokens stay. Where only the text can say it, the text is read.
void Prune::predict_vocabulary(const Forecast& forecast, plan::PruneTarget& target) const {
  if (!vocabulary_.given()) return;
  target.vocab = vocabulary_.size;
  const Shape& before = forecast.model("from");
  const bool same_tokens = forecast.teacher != nullptr && forecast.teacher->has_tokenizer() &&
                           forecast.teacher->dims().vocab == before.dims.vocab;
  const bool text_there = forecast.has("text") && !forecast.at("text").path.empty();
  if (vocabulary_.coverage)
    ESP_CHECK(same_tokens && text_there, usage, "vocab_coverage ", *vocabulary_.coverage,
              ": how many tokens that is depends on a text or a tokenizer that an earlier stage "
              "has yet to make; give vocab");
  if (!same_tokens) return;
  const std::vector<plan::CountedText> texts =
      vocabulary_.coverage ? counted(forecast.inputs.at("text")) : std::vector<plan::CountedText>();
  target.vocab = static_cast<std::int64_t>(
      plan::choose_vocabulary(*forecast.teacher, texts, forecast.reading, vocabulary_).keep.size());
}

// The time, for a model that is cut to `after`.
void Prune::predict_work(const prune::PruneOptions& settings, const arch::ModelDims& after,
                         Forecast& forecast) const {
  const Shape& before = forecast.model("from");
  timing::PruneWork work{stored(before), after, {}, compensate_ == "least_squares"};
  if (calibrates_) work.text = text_of(calibration_, before);
  work.ridges = ridge_ ? 0 : 3;
  work.gives_scores = prune::facts_of(criterion_).before_the_pass;
  forecast.work = timing::work_of(work, forecast.machine);
  if (calibrates_ && prune::facts_of(criterion_).turns)  // the walk that finds the directions
    forecast.work +=
        timing::work_of(timing::CalibrateWork{stored(before), work.text, true}, forecast.machine);
  if (!forecast.has("plan")) predict_choices(settings, work, forecast);
}

// What decides before the pass that cuts: sizes that a total leaves open, and which layers go.
void Prune::predict_choices(const prune::PruneOptions& settings, timing::PruneWork work,
                            Forecast& forecast) const {
  const Shape& before = forecast.model("from");
  timing::Text text = work.text;
  const bool by_file = forecast.has("scores");
  const prune::SizesFacts sizes = by_file && compensate_ == "none"
                                      ? prune::SizesFacts()
                                      : prune::sizes_facts(settings, *before.arch, before.dims);
  if (sizes.choices > 0) {
    text.tokens = 2 * std::min(text.tokens, sizes.tokens_without);
    forecast.work += losses_without_layers(prune::facts_of("block_perplexity"), text, before, 0);
    text.tokens = work.text.tokens;
    work.text.tokens = std::min(text.tokens, sizes.tokens);
    for (std::int64_t i = 0; i < sizes.choices; ++i)
      forecast.work += timing::work_of(work, forecast.machine);
  }
  const std::int64_t layers = before.dims.n_layers();
  const std::int64_t drop =
      blocks_ ? static_cast<std::int64_t>(prune::present_blocks(*before.arch, before.dims).size()) -
                    *blocks_
              : layers - target_.layers.value_or(layers);
  if (drop == 0 || by_file) return;
  text.tokens = std::min(text.tokens, prune::kLayerWindows * text.sequence);
  forecast.work += losses_without_layers(
      prune::facts_of(layer_criterion_.empty() ? criterion_ : layer_criterion_), text, before,
      drop);
}

void Prune::predict(Forecast& forecast) const {
  const auto path = [&](const char* key) {
    return forecast.has(key) ? forecast.at(key).path : std::string();
  };
  const bool has_plan = forecast.has("plan");
  const Shape& before = forecast.model("from");
  prune::PruneOptions settings = this->settings(path("plan"), path("scores"));
  predict_vocabulary(forecast, settings.target);
  Shape after = before;
  const bool plan_to_come = has_plan && path("plan").empty();
  if (forecast.has("scores") && path("scores").empty()) {
    const Made& scores = forecast.at("scores").made;
    if (!scores.criterion.empty()) settings.criterion = scores.criterion;
    require_same_sizes(scores, before, "scores", forecast.at("scores").name);
  }
  if (plan_to_come) {
    after.dims = forecast.at("plan").shape->dims;
    const std::string& by = forecast.at("plan").made.criterion;
    if (after.dims.hidden != before.dims.hidden && prune::facts_of(by).turns)
      plan::require_channels({.hidden = std::vector<std::int64_t>(), .basis = by},
                             forecast.at("plan").name);
    if (settings.target.vocab) after.dims.vocab = *settings.target.vocab;
    settings.target = target_like(after.dims);
  } else {
    // Refuses what cannot be scored, and what transformers would not load.
    after.dims = prune::check(settings, *before.arch, before.dims);
    // Scores decide which blocks go, so this is the most that can be left.
    if (blocks_)
      after.dims =
          plan::dims_after(prune::largest_blocks(*before.arch, before.dims, *blocks_), before.dims);
  }
  if (has_plan && !plan_to_come && forecast.teacher != nullptr &&
      forecast.at("from").name == "teacher") {
    const plan::PrunePlan given =
        plan::prune_plan_from_json(core::read_text_file(path("plan")), before.dims, path("plan"));
    plan::require_channels(given, path("plan"));
    if (!given.source_sha256.empty())  // hashing reads the whole teacher
      plan::require_source(given, forecast.teacher->path(), forecast.teacher->sha256(),
                           path("plan"));
  }
  ESP_CHECK(before.dims.uniform() || has_plan || blocks_ || target_.parameters ||
                after.dims.n_layers() == before.dims.n_layers(),
            unsupported, "layers of ", forecast.at("from").name,
            " differ in size and their importance decides which go, so what is left cannot be "
            "predicted; give a plan");
  if (calibrates_) plan_windows(*this, calibration_, "from", forecast);
  forecast.made = after;
  forecast.bytes = after.parameters() * 4;
  forecast.set_memory(before, [&] {
    return calibrates_ ? prune::peak_memory(settings, *before.arch, before.dims)
                       : file_memory(*before.arch, before.dims);
  });
  const std::int64_t turned = prune::turned_bytes(settings, *before.arch, before.dims);
  if (turned > 0) forecast.beside.criterion = criterion_;  // its plan holds directions
  forecast.disk = *forecast.bytes + turned;
  predict_work(settings, after.dims, forecast);
}
#else
void Prune::predict(Forecast&) const {}
#endif

// auto: what is cut as it stands keeps its format, when that is one float format. Weights that are
// fitted or trained further are f32.
checkpoint::WriteOptions Prune::write_options(const checkpoint::Checkpoint& source) const {
  checkpoint::WriteOptions out;
  if (dtype_ != "auto")
    out.dtype = *format::format_by_name(dtype_);
  else if (!calibrates_ && compensate_ != "merge")
    out.dtype = source.float_format();
  out.max_shard_bytes = static_cast<std::uint64_t>(shard_bytes_);
  return out;
}

Result Prune::told(const Context& context, std::int64_t before, std::int64_t after,
                   const std::vector<std::string>& notes) const {
  Result out;
  out.metrics = {{"parameters_before", before}, {"parameters_after", after}};
  out.told = context.out + ": " + core::human_count(before) + " -> " + core::human_count(after) +
             " parameters\n" + remote_code_note(context.out);
  for (const std::string& note : notes) out.told += "  " + note + "\n";
  out.notes = notes;
  return out;
}

std::optional<plan::VocabularyChoice> Prune::choose_tokens(const Context& context,
                                                           const checkpoint::Checkpoint& source) {
  if (!vocabulary_.given()) return std::nullopt;
  plan::VocabularyChoice choice = plan::choose_vocabulary(
      source, counted(context.inputs.at("text")), context.reading, vocabulary_);
  target_.vocab = static_cast<std::int64_t>(choice.keep.size());
  return choice;
}

Result Prune::cut_as_it_stands(const Context& context, const checkpoint::Checkpoint& source,
                               const std::optional<plan::VocabularyChoice>& tokens) const {
  plan::PrunePlan plan = plan::keep_all(source.dims());
  if (const std::string path = context.path("plan"); !path.empty()) {
    plan = plan::prune_plan_from_json(core::read_text_file(path), source.dims(), path);
    plan::require_source(plan, source.path(), source.sha256(), path);
    plan::require_channels(plan, path);
    ESP_CHECK(!tokens || !plan.vocab, usage, path,
              ": the plan chooses tokens already, so there is no choice of a vocabulary beside it; "
              "leave one of the two out");
  }
  if (tokens) plan.vocab = tokens->keep;
  ESP_CHECK(!tokens || plan::dims_after(plan, source.dims()) != source.dims(), usage,
            "nothing would be cut: the vocabulary has ", source.dims().vocab,
            " tokens, and all of them would stay; ask for fewer");
  plan.source_sha256 = source.sha256();  // a plan written by hand may name none
  plan::require_memory(file_memory(source.arch(), source.dims()), context.max_ram,
                       "no pruning needs less");
  static_cast<void>(
      checkpoint::hf_family_for(source.arch(), plan::dims_after(plan, source.dims())));
  const std::int64_t after = surgery::prune_checkpoint(
      source, plan, context.out, write_options(source),
      compensate_ == "merge" ? surgery::merge_dropped(source, plan) : surgery::Replacement(),
      context.progress);
  return told(context, arch::parameters(source.arch(), source.dims()), after, {});
}

// What a choice of tokens adds to the result.
void tell_tokens(const plan::VocabularyChoice& tokens, std::int64_t before, Result& result) {
  const std::size_t kept = tokens.keep.size();
  result.metrics["vocab_before"] = before;
  result.metrics["vocab_after"] = kept;
  result.metrics["vocab_coverage"] = tokens.coverage();
  result.told += "  vocabulary " + std::to_string(before) + " -> " + std::to_string(kept) +
                 " tokens, which are " + core::number(100 * tokens.coverage()) +
                 " % of those of the text; " + std::to_string(tokens.needed) +
                 " stay in any case\n";
}

Result Prune::run(const Context& context) {
  const auto source = checkpoint::Checkpoint::open(context.path("from"));
  const std::optional<plan::VocabularyChoice> tokens = choose_tokens(context, source);
  const bool decides = calibrates_ || !context.path("scores").empty();
  Result result = decides ? calibrate_and_cut(context, source, tokens)
                          : cut_as_it_stands(context, source, tokens);
  if (tokens) tell_tokens(*tokens, source.dims().vocab, result);
  return result;
}

Result Prune::calibrate_and_cut(const Context& context, const checkpoint::Checkpoint& source,
                                const std::optional<plan::VocabularyChoice>& tokens) {
#ifdef ESPALIER_WITH_TRAINING
  prune::PruneOptions settings = this->settings(context.path("plan"), context.path("scores"));
  if (tokens) settings.vocab = tokens->keep;
  static_cast<void>(prune::check(settings, source.arch(), source.dims()));
  settings.write = write_options(source);
  settings.held_out_path = context.path("held_out");
  settings.reading = context.reading;
  settings.calibration =
      windows_within(*this, calibration_, context, source,
                     "read fewer tokens, or give a plan that was made elsewhere",
                     [&](const text::CalibrationOptions& o) {
                       settings.calibration = o;
                       return prune::peak_memory(settings, source.arch(), source.dims());
                     });
  settings.texts = texts_of(context, source, settings.calibration);
  settings.resume = context.resume;
  settings.or_start_over = context.or_start_over;
  settings.threads = context.threads;
  const prune::PruneResult r = prune::prune(source, context.out, settings, context.progress);
  return told(context, r.parameters_before, r.parameters_after, r.notes);
#else
  static_cast<void>(context);
  static_cast<void>(source);
  static_cast<void>(tokens);
  core::fail(core::ErrorKind::unsupported,
             "prune: this build has no training side; give a plan and no text, or cut the "
             "vocabulary alone");
#endif
}

}  // namespace

extern const Kind k_prune;
const Kind k_prune{"prune",
                   "structured pruning to a smaller model directory",
                   "espalier prune teacher.gguf --out pruned --ffn 1024 --text train.txt",
                   make_stage<Prune>,
                   checkpoint::algorithm_version("prune"),
                   {{"parameters_before", "parameters of the model"},
                    {"parameters_after", "parameters that are left"},
                    {"vocab_before", "tokens of the model, where a vocabulary was chosen"},
                    {"vocab_after", "tokens that are left"},
                    {"vocab_coverage", "share of the text's tokens that are left"}}};

}  // namespace espalier::stages
