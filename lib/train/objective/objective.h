// SPDX-License-Identifier: Apache-2.0
// What a training makes small: a sum of terms (term.h), each with its weight. An Objective runs
// both models on a batch, computes the terms, and goes back through the student once, from the
// final hidden states and from every layer that a term reads.
//
// The trainable extras of terms live here. A trainer updates them with the student's parameters.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model/transformer.h"
#include "objective/chunked_loss.h"
#include "objective/layer_pairs.h"
#include "objective/term.h"
#include "objective/weight.h"

namespace espalier::objective {

struct PlannedTerm {
  const Term* term;
  Weight weight;
  std::string label;                  // in metrics and progress
  std::vector<LayerPair> pairs = {};  // of a term of states

  bool reads_teacher() const { return term->reads != Reads::text && !weight.is_zero(); }
};

struct Settings {
  TermOptions term_options = default_options();
  double temperature = 1;
  std::int64_t token_chunk = 0;  // as in ChunkedLossInput
  torch::ScalarType matmul_dtype = torch::kFloat32;
  std::vector<std::int64_t> channels = {};  // where extras begin (Widths)
};

// Windows of one pass, [B, T].
struct Batch {
  torch::Tensor ids;      // int64
  torch::Tensor targets;  // int64, -1: not scored
  SparseLogits cached;    // instead of a teacher: the B * T rows of these tokens
};

// Over scored tokens.
struct Sums {
  double loss = 0;
  std::vector<double> terms;  // without weights, in the order of the plan
  std::int64_t tokens = 0;

  void add(const Sums& more);
};

struct Models {
  model::Transformer& student;
  model::Transformer* teacher;  // null: none
};

// Not thread-safe.
class Objective {
 public:
  // teacher: null when there is none. Terms that would read it are then only served by a cache.
  Objective(std::vector<PlannedTerm> terms, Settings settings, const arch::ModelDims& student,
            const arch::ModelDims* teacher);

  // Leaves that require gradients, in a fixed order. Who trains them may replace them by others of
  // the same shape, such as views of a buffer.
  std::vector<torch::Tensor>& extras() { return extras_; }
  // The sum of the weights. progress: 0 at the first step, 1 at the last.
  double weight(double progress) const;

  // One forward and backward pass. Adds to the gradients of the student and of the extras, unless
  // the loss is not finite.
  Sums accumulate(const Models& models, const Batch& batch, double progress);
  // Frees the buffers that one pass leaves for the next.
  void release() { logits_ = {}; }

 private:
  using Place = std::pair<model::Tap, int>;
  struct Seen {
    torch::Tensor hidden;  // [n, H]
    std::map<Place, torch::Tensor> states;
  };
  struct Roots {
    std::vector<torch::Tensor> values, gradients;
  };
  struct Scored {
    const Seen &student, &teacher;
    torch::Tensor targets;  // [n]
    double progress;
  };
  void add_extras(const PlannedTerm& term, const Widths& widths);
  static Seen forward(model::Transformer& model, const torch::Tensor& ids,
                      const std::set<Place>& wanted);
  void add_tokens(const Models& models, const Scored& scored, const SparseLogits& cached,
                  Sums& sums, Roots& roots);
  void add_states(const Scored& scored, Sums& sums, Roots& roots);

  std::vector<PlannedTerm> terms_;
  Settings settings_;
  std::set<Place> student_places_, teacher_places_;
  std::vector<torch::Tensor> extras_;
  std::vector<std::size_t> n_extras_;  // of each pair of each term
  LogitBuffers logits_;
};

// What terms of states need beside the models: bytes of extras with gradient and moments, and of
// states and gradients of `tokens` tokens. widths: of student and teacher.
std::int64_t states_bytes(const PlannedTerm& term, const Widths& widths, std::int64_t n_pairs,
                          std::int64_t tokens);

}  // namespace espalier::objective
