// SPDX-License-Identifier: Apache-2.0
// A term of a training objective: a number for each token that training makes small. A term is one
// file in terms/ and one line in terms.inc. Masks, weights, temperature, chunks of tokens and sums
// are not its concern.
//
// A term gives a function for what it reads. Its values are at least 0, and it works in the dtype
// of its inputs, so that tests can look at it in float64. Autograd differentiates it.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/transformer.h"
#include "objective/options.h"

namespace espalier::objective {

enum class Reads : std::uint8_t {
  text,    // the student's distributions and the next tokens of the text; needs no teacher
  logits,  // the distributions of student and teacher
  states,  // what both models have at a tap point of paired layers: hidden states, attention
};

// Of n tokens.
struct TokenInput {
  // Log-probabilities [n, V]. Those of a term that reads both models are at the temperature.
  torch::Tensor student;
  torch::Tensor teacher;  // undefined for a term that reads the text
  torch::Tensor targets;  // int64 [n]: the next token of the text; any id where there is none
  const TermOptions& options;
};

// How wide the states of a pair of layers are.
struct Widths {
  std::int64_t student, teacher;
  // The teacher's channel that each of the student's was before pruning. Empty: unknown.
  std::vector<std::int64_t> channels = {};
};
// A tensor that is trained beside the student and is no part of it.
struct Extra {
  std::string_view name;
  std::vector<std::int64_t> shape;
  torch::Tensor (*start)(const Widths& widths);  // the values it begins with
};
struct PairInput {
  torch::Tensor student;  // [n, width]
  torch::Tensor teacher;  // [n, width of the teacher]
  std::span<const torch::Tensor> extras;
};
struct StatesTerm {
  model::Tap tap = model::Tap::layer_out;  // where both models are read
  std::string_view layers = {};            // the list option that says which layers (layer_pairs.h)
  // Of one pair; null: none.
  std::vector<Extra> (*extras)(const Widths& widths) = nullptr;
  torch::Tensor (*of_pair)(const PairInput& input) = nullptr;  // -> [n]
};

struct Term {
  std::string_view name;  // in recipes and in metrics.jsonl
  Reads reads;
  // row_loss.h holds the same formula with its gradient. It has a place for one term of each of
  // Reads::text and Reads::logits.
  bool fused = false;
  // A cache of logits has all that it reads. Of a term of logits row_loss.h then also holds the
  // form for a teacher that is known only on its likeliest tokens (sparse_logits.h).
  bool cacheable = false;
  // Adds options of its own; null: it has none.
  void (*describe)(TermOptions& values, options::List& list) = nullptr;
  torch::Tensor (*of_tokens)(const TokenInput& input) = nullptr;  // -> [n]; text and logits
  StatesTerm states = {};
};

std::span<const Term* const> all_terms();
const Term& term_by_name(std::string_view name);  // Error(usage) names the nearest name

}  // namespace espalier::objective
