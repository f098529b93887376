// SPDX-License-Identifier: Apache-2.0
// Forward passes with taps, the terms, and one backward pass from all roots.
#include "objective/objective.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "core/profile.h"
#include "objective/pair_loss.h"

namespace espalier::objective {
namespace {

using model::Tap;
using torch::Tensor;

// Whether a tap point's value has the channels of the residual stream.
bool in_stream(Tap tap) { return tap != Tap::attn_mix && tap != Tap::ffn_act; }

std::int64_t width_of(const arch::ModelDims& dims, Tap tap, int layer) {
  const arch::LayerDims& l = dims.layers.at(static_cast<std::size_t>(layer));
  if (in_stream(tap)) return dims.hidden;
  return tap == Tap::ffn_act ? l[arch::Axis::ffn]
                             : l[arch::Axis::kv_groups] * l[arch::Axis::q_per_kv] * dims.head_dim;
}

std::int64_t values_of(const Extra& extra) {
  return std::accumulate(extra.shape.begin(), extra.shape.end(), std::int64_t{1},
                         std::multiplies<>());
}

std::vector<Extra> extras_of(const Term& term, const Widths& widths) {
  return term.states.extras == nullptr ? std::vector<Extra>() : term.states.extras(widths);
}

}  // namespace

void Sums::add(const Sums& more) {
  loss += more.loss;
  terms.resize(more.terms.size());
  for (std::size_t i = 0; i < terms.size(); ++i) terms[i] += more.terms[i];
  tokens += more.tokens;
}

Objective::Objective(std::vector<PlannedTerm> terms, Settings settings,
                     const arch::ModelDims& student, const arch::ModelDims* teacher)
    : terms_(std::move(terms)), settings_(std::move(settings)) {
  for (const PlannedTerm& planned : terms_) {
    if (planned.term->reads != Reads::states) continue;
    ESP_CHECK(teacher != nullptr && !planned.pairs.empty(), internal, "the term ",
              planned.term->name, " needs a teacher and pairs of layers");
    const Tap tap = planned.term->states.tap;
    for (const LayerPair& pair : planned.pairs) {
      student_places_.emplace(tap, pair.student);
      teacher_places_.emplace(tap, pair.teacher);
      add_extras(planned,
                 {width_of(student, tap, pair.student), width_of(*teacher, tap, pair.teacher),
                  in_stream(tap) ? settings_.channels : std::vector<std::int64_t>()});
    }
  }
}

void Objective::add_extras(const PlannedTerm& planned, const Widths& widths) {
  const std::vector<Extra> extras = extras_of(*planned.term, widths);
  for (const Extra& extra : extras) {
    const Tensor start = extra.start(widths);
    ESP_CHECK(start.sizes() == extra.shape && start.scalar_type() == torch::kFloat32, internal,
              "the extra ", extra.name, " of the term ", planned.term->name,
              " does not begin with what it says");
    extras_.push_back(start.detach().requires_grad_(true));
  }
  n_extras_.push_back(extras.size());
}

double Objective::weight(double progress) const {
  double sum = 0;
  for (const PlannedTerm& t : terms_) sum += t.weight.at(progress);
  return sum;
}

Objective::Seen Objective::forward(model::Transformer& model, const Tensor& ids,
                                   const std::set<Place>& wanted) {
  Seen out;
  if (!wanted.empty())
    model.set_tap([&](Tap tap, int layer, const Tensor& value) {
      if (wanted.contains({tap, layer})) out.states[{tap, layer}] = value.flatten(0, 1);
    });
  out.hidden = model.hidden(ids).flatten(0, 1);
  model.set_tap({});
  ESP_CHECK(out.states.size() == wanted.size(), internal,
            "a layer that a term reads lacks the block");
  return out;
}

Sums Objective::accumulate(const Models& models, const Batch& batch, double progress) {
  Seen teacher, student;
  if (models.teacher != nullptr &&
      std::any_of(terms_.begin(), terms_.end(), std::mem_fn(&PlannedTerm::reads_teacher))) {
    const core::Section section("teacher");
    torch::NoGradGuard no_grad;
    teacher = forward(*models.teacher, batch.ids, teacher_places_);
  }
  {
    const core::Section section("forward");
    student = forward(models.student, batch.ids, student_places_);
  }
  const Scored scored{student, teacher, batch.targets.flatten().to(models.student.device()),
                      progress};
  Sums sums;
  sums.terms.resize(terms_.size());
  sums.tokens = scored.targets.ge(0).sum().item<std::int64_t>();
  Roots roots;
  {
    const core::Section section("loss");
    add_tokens(models, scored, batch.cached, sums, roots);
    add_states(scored, sums, roots);
  }
  const core::Section section("backward");
  if (std::isfinite(sums.loss)) torch::autograd::backward(roots.values, roots.gradients);
  return sums;
}

void Objective::add_tokens(const Models& models, const Scored& scored, const SparseLogits& cached,
                           Sums& sums, Roots& roots) {
  ChunkedLossInput in;
  std::vector<std::size_t> places;
  bool compares = false;
  for (std::size_t i = 0; i < terms_.size(); ++i) {
    if (terms_[i].term->reads == Reads::states) continue;
    places.push_back(i);
    in.terms.push_back({terms_[i].term, terms_[i].weight.at(scored.progress)});
    compares = compares || terms_[i].reads_teacher();
  }
  if (places.empty()) return;
  if (compares && scored.teacher.hidden.defined()) {
    in.teacher_hidden = scored.teacher.hidden;
    in.teacher_output = models.teacher->output_weight();
    in.teacher_softcap = models.teacher->dims().logit_softcap;
  } else if (compares) {
    in.sparse_teacher = cached;
  }
  in.student_hidden = scored.student.hidden.detach();
  in.student_output = models.student.output_weight();
  in.student_softcap = models.student.dims().logit_softcap;
  in.output_gradient = in.student_output.requires_grad();
  in.targets = scored.targets;
  in.term_options = settings_.term_options;
  in.temperature = settings_.temperature;
  in.token_chunk = settings_.token_chunk;
  in.matmul_dtype = settings_.matmul_dtype;
  const ChunkedLoss loss = chunked_loss(in, logits_);
  sums.loss += loss.loss_sum;
  for (std::size_t i = 0; i < places.size(); ++i) sums.terms[places[i]] = loss.sums[i];
  roots.values.push_back(scored.student.hidden);
  roots.gradients.push_back(loss.hidden_gradient);
}

// The mean over the pairs.
void Objective::add_states(const Scored& scored, Sums& sums, Roots& roots) {
  std::size_t next_pair = 0, next_extra = 0;
  for (std::size_t i = 0; i < terms_.size(); ++i) {
    const auto& [term, weight, label, pairs] = terms_[i];
    if (term->reads != Reads::states) continue;
    const double share = 1.0 / static_cast<double>(pairs.size());
    for (const LayerPair& pair : pairs) {
      const Tensor& student = scored.student.states.at({term->states.tap, pair.student});
      PairLossInput in{student,
                       scored.teacher.states.at({term->states.tap, pair.teacher}),
                       scored.targets,
                       {},
                       share * weight.at(scored.progress)};
      for (std::size_t e = 0; e < n_extras_.at(next_pair); ++e)
        in.extras.push_back(extras_.at(next_extra + e));
      ++next_pair;
      const PairLoss loss = pair_loss(*term, in);
      sums.terms[i] += share * loss.sum;
      sums.loss += in.weight * loss.sum;
      if (student.requires_grad()) {
        roots.values.push_back(student);
        roots.gradients.push_back(loss.gradient);
      }
      for (const Tensor& gradient : loss.extras) {
        Tensor& extra = extras_.at(next_extra++);
        if (!extra.grad().defined()) extra.mutable_grad() = torch::zeros_like(extra);
        extra.mutable_grad().add_(gradient);
      }
    }
  }
}

std::int64_t states_bytes(const PlannedTerm& term, const Widths& widths, std::int64_t n_pairs,
                          std::int64_t tokens) {
  if (term.term->reads != Reads::states) return 0;
  std::int64_t values = 0;
  for (const Extra& extra : extras_of(*term.term, widths)) values += values_of(extra);
  // Of each pair: the teacher's states and the gradient by the student's. Of one pair: what the
  // term computes from them.
  const std::int64_t states =
      n_pairs * (widths.student + widths.teacher) + 4 * (widths.student + widths.teacher);
  return 16 * n_pairs * values + 4 * tokens * states;
}

}  // namespace espalier::objective
