// SPDX-License-Identifier: Apache-2.0
// The importance of every index of every axis, as safetensors.
#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/units.h"
#include "prune/pruner.h"
#include "stages/calibration.h"
#include "stages/layers_out.h"
#include "stages/stage.h"
#include "stages/texts.h"
#include "stages/work.h"
#include "timing/layers.h"

namespace espalier::stages {
namespace {

class Score : public Stage {
 public:
  options::List options() override {
    options::List list;
    std::vector<std::string> names;
    for (const prune::CriterionFacts& facts : prune::criterion_facts()) names.push_back(facts.name);
    list.begin_group("scores");
    list.add("criterion", &criterion_, "importance criterion").one_of(names);
    list.append(describe(calibration_));
    return list;
  }
  std::vector<Input> inputs() const override {
    return {{"from",
             "model",
             "model whose parts are scored",
             {Artifact::model, Artifact::gguf},
             "teacher",
             true},
            calibration_text("calibration text", /*required=*/true)};
  }
  std::vector<Output> outputs() const override {
    return {{Artifact::scores, "scores.safetensors"}};
  }
  bool deliverable() const override { return true; }
  void predict(Forecast& forecast) const override {
    const Shape& shape = forecast.model("from");
    plan_windows(*this, calibration_, "from", forecast);
    forecast.beside = {.about = shape, .criterion = criterion_};
    forecast.set_memory(shape, [&] {
      return prune::score_memory(criterion_, *shape.arch, shape.dims, calibration_);
    });
    // The walk and its sums; criteria that read gradients also go back through every layer.
    const timing::Text text = text_of(calibration_, shape);
    const prune::CriterionFacts facts = prune::facts_of(criterion_);
    forecast.work = timing::work_of(
        timing::CalibrateWork{stored(shape), text, facts.second_moments}, forecast.machine);
    forecast.work += losses_without_layers(facts, text, shape, 0);
    if (facts.backward) forecast.work += timing::train({shape.arch, shape.dims}, text);
  }
  Result run(const Context& context) override {
    const auto source = checkpoint::Checkpoint::open(context.path("from"));
    checkpoint::check_vocabulary_matrices(source);
    const text::CalibrationOptions windows =
        windows_within(*this, calibration_, context, source, "read fewer tokens",
                       [&](const text::CalibrationOptions& o) {
                         return prune::score_memory(criterion_, source.arch(), source.dims(), o);
                       });
    const prune::ScoreResult r = prune::score(source,
                                              {.texts = texts_of(context, source, windows),
                                               .criterion = criterion_,
                                               .out_path = context.out,
                                               .calibration = windows,
                                               .work = context.part(""),
                                               .reading = context.reading},
                                              context.progress);
    return {
        {{"criterion", r.criterion}, {"tokens", r.tokens}, {"axes", r.axes}},
        context.out + ": " + r.criterion + " over " + core::human_count(r.tokens) + " tokens\n"};
  }

 private:
  std::string criterion_ = "activation";
  text::CalibrationOptions calibration_;
};

}  // namespace

extern const Kind k_score;
const Kind k_score{"score",
                   "compute the importance of every index of every axis",
                   "espalier score teacher.gguf --text train.txt --criterion obs --out "
                   "scores.safetensors",
                   make_stage<Score>,
                   checkpoint::algorithm_version("prune"),
                   {{"criterion", "the criterion"},
                    {"tokens", "tokens that were read"},
                    {"axes", "names of the scores in the file"}}};

}  // namespace espalier::stages
