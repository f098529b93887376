// SPDX-License-Identifier: Apache-2.0
// Curves, choices, and a pass for each of them.
#include "prune/choose_sizes.h"

#include <algorithm>
#include <utility>

#include "core/file.h"
#include "core/units.h"
#include "format/json_input.h"
#include "layerwise/follow.h"
#include "prune/choose.h"
#include "prune/criteria/loss.h"

namespace espalier::prune {
namespace {

using torch::Tensor;
using Json = nlohmann::ordered_json;

constexpr const char *kCurves = "curves.json", *kSizes = "sizes.json";

struct Windows {
  Tensor all;  // those that judge come last
  std::int64_t judged = 0;
};
Windows windows_of(const Tensor& windows) {
  const std::int64_t n = windows.size(0),
                     judged = std::min(kJudgedWindows,
                                       n >= kFitWindows + kJudgedWindows ? kJudgedWindows : n / 4),
                     fitted = std::min(kFitWindows, n - judged);
  return {torch::cat({windows.narrow(0, 0, fitted), windows.narrow(0, n - judged, judged)}),
          judged};
}

// What turns the pruned stream into logits.
model::Transformer head_of(const SequentialInput& pass) {
  const model::Transformer& dense = pass.dense;
  const plan::Selection& hidden = pass.hidden;
  model::Transformer whole = dense;
  whole.load_output();
  if (!hidden) return whole;
  const arch::ModelDims& before = dense.dims();
  arch::ModelDims dims = before;
  dims.hidden = static_cast<std::int64_t>(hidden->size());
  model::Transformer out = model::Transformer::empty(dense.arch(), dims, dense.options());
  for (const arch::TensorSpec& spec : dense.arch().model) {
    if (!whole.has(spec.role, -1)) continue;
    Tensor w = whole.weight(spec.role, -1);
    int dim = 0;
    for (const arch::Extent* extent : {&spec.rows, &spec.cols}) {
      if (touches(*extent, arch::Axis::hidden))
        w = w.index_select(dim, torch::tensor(arch::surviving(*extent, arch::Axis::hidden, *hidden,
                                                              before, nullptr)));
      ++dim;
    }
    if (pass.gain_factor != 1 && spec.role == arch::Role::output_norm)
      w = layerwise::scaled_gains(dense.arch(), w, pass.gain_factor);
    out.set_weight(spec.role, -1, w);
  }
  return out;
}

// The loss, on windows that nothing is fitted to, of the model cut to a choice.
double loss_of_choice(const SizesInput& in, const Windows& windows, const plan::PrunePlan& plan,
                      const std::string& stage) {
  const SequentialInput& pass = in.pass;
  SequentialInput trial{pass.dense, windows.all,      pass.criterion, pass.compensation,
                        pass.ridge, plan.keep_layers, pass.hidden,    {}};
  for (const std::int64_t l : plan.keep_layers)
    trial.sizes.push_back(pass.dense.dims().layers[static_cast<std::size_t>(l)]);
  trial.given = plan.layers;
  trial.biases = pass.biases;
  trial.gain_factor = pass.gain_factor;
  trial.walk = pass.walk;
  trial.walk.work = nullptr;  // its state is that of the pass that cuts
  trial.walk.stage = stage;
  trial.judged = windows.judged;
  const Tensor states = prune_sequentially(trial).judged;
  const torch::InferenceMode inference;
  const std::int64_t n = windows.all.size(0) - windows.judged;
  return loss_of(head_of(pass), windows.all.narrow(0, n, windows.judged), states);
}

std::vector<plan::BlockCurve> curves_for(const SizesInput& in, const Windows& windows) {
  if (in.work.has(kCurves)) {
    std::vector<plan::BlockCurve> kept;
    in.work.load([&] {
      kept = curves_from_json(core::read_text_file(in.work.file(kCurves)), in.work.file(kCurves));
    });
    return kept;
  }
  const Tensor fitted = windows.all.narrow(0, 0, windows.all.size(0) - windows.judged);
  std::vector<plan::BlockCurve> out =
      measure_curves({in.pass.dense, fitted, in.pass.criterion, in.scores,
                      in.pass.compensation == Compensation::least_squares, in.pass.walk, in.seed});
  in.work.save([&] { core::write_text_file(in.work.file(kCurves), curves_to_json(out)); });
  return out;
}

// The losses of the choices; those that an unfinished run measured are kept.
std::vector<double> losses_of(const SizesInput& in, const Windows& windows,
                              const std::vector<plan::SizeChoice>& choices,
                              const std::vector<plan::BlockCurve>& curves) {
  std::vector<double> out;
  if (choices.size() < 2 || windows.judged == 0) return out;
  if (in.work.has(kSizes))
    in.work.load([&] {
      format::parse_json<Json>(core::read_text_file(in.work.file(kSizes)), in.work.file(kSizes))
          .get_to(out);
    });
  while (out.size() < choices.size()) {
    const std::string part =
        std::to_string(out.size() + 1) + " of " + std::to_string(choices.size());
    out.push_back(loss_of_choice(in, windows,
                                 plan::plan_of(choices[out.size()], curves, in.pass.dense.dims()),
                                 "sizes, " + part));
    in.work.save([&] { core::write_text_file(in.work.file(kSizes), Json(out).dump()); });
  }
  return out;
}

std::string note_of(const SizesInput& in, const std::vector<plan::SizeChoice>& choices,
                    const std::vector<double>& losses, std::size_t best) {
  std::string out = in.question.one_size
                        ? "readers of " + std::string(in.question.arch.hf_model_type) +
                              " take one size for all layers, so none has its own: "
                        : "";
  out += choices[best].name;
  if (choices.size() == 1) return out;
  if (losses.empty()) return out + ", without a window to compare by";
  out += ", with a loss of " + core::number(losses[best]) + " on windows that were not fitted";
  for (std::size_t i = 0; i < choices.size(); ++i)
    if (i != best) out += "; " + choices[i].name + ": " + core::number(losses[i]);
  return out;
}

}  // namespace

DecidedSizes decide_sizes(const SizesInput& in) {
  const Windows windows = windows_of(in.pass.windows);
  DecidedSizes out;
  out.curves = curves_for(in, windows);
  std::vector<plan::SizeChoice> choices = plan::size_choices(in.question, out.curves);
  const std::vector<double> losses = losses_of(in, windows, choices, out.curves);
  const auto best = static_cast<std::size_t>(
      losses.empty() ? 0 : std::min_element(losses.begin(), losses.end()) - losses.begin());
  out.about["chosen"] = choices[best].name;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    Json about{
        {"name", choices[i].name},
        {"parameters", arch::parameters(in.question.arch, plan::dims_of(in.question, choices[i]))},
        {"expected", std::stod(core::number(choices[i].loss))}};
    if (!losses.empty()) about["loss"] = losses[i];
    out.about["choices"].push_back(std::move(about));
  }
  out.note = note_of(in, choices, losses, best);
  out.choice = std::move(choices[best]);
  return out;
}

plan::PrunePlan plan_by_scores(plan::SizeQuestion question, const Scores& scores,
                               const arch::ModelDims& before) {
  for (const PresentBlock& b : present_blocks(question.arch, before))
    if (!scores.all.contains(scores_name(b.block->axis(), static_cast<int>(b.layer))) &&
        !scores.all.contains(block_scores_name(b.block->kind)))
      question.blocks = question.fewer_layers = false;  // it cannot be judged as a whole
  const std::vector<plan::BlockCurve> curves =
      curves_of_scores(scores, question.arch, before, question.axes);
  const std::vector<plan::SizeChoice> choices = plan::size_choices(question, curves);
  return plan::plan_of(*std::min_element(choices.begin(), choices.end(),
                                         [](const plan::SizeChoice& a, const plan::SizeChoice& b) {
                                           return a.loss < b.loss;
                                         }),
                       curves, before);
}

}  // namespace espalier::prune
