// SPDX-License-Identifier: Apache-2.0
// The options of a training, with their defaults, and what they say about themselves. Recipes,
// flags, manifests and the reference page all come from describe().
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "distill/schedule_names.h"
#include "objective/options.h"
#include "options/option.h"

namespace espalier::distill {

struct TrainOptions {
  std::int64_t tokens = 0;
  std::int64_t batch = 4, sequence = 512, accumulation = 1;
  double learning_rate = 3e-4, final_learning_rate_ratio = 0.1, warmup_ratio = 0.05;
  std::string schedule = "cosine";
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.0, clip_norm = 1.0;
  double kl_weight = 0.5, ce_weight = 0.5, temperature = 1.0;
  std::string loss = "forward_kl";
  // Name -> weight ("0.5", or "1 to 0.1"). Not empty: the whole objective, instead of the three
  // above (planned_terms.h).
  std::map<std::string, std::string> terms = {};
  objective::TermOptions of_terms = {};
  std::uint64_t seed = 0;
  std::int64_t checkpoint_every = 25;
  std::string precision = "auto";
  std::int64_t tokens_at_once = 512;
  std::int64_t vocab_chunk = 0;
  bool train_embeddings = true;
};

inline options::List describe(TrainOptions& o) {
  options::List list;
  list.begin_group("how long");
  list.add("tokens", &o.tokens, "tokens to train on, rounded up to whole steps").between(1, 1e15);
  list.add("batch", &o.batch, "windows of a forward and backward pass, before accumulation")
      .between(1, 1 << 20);
  list.add("sequence", &o.sequence, "tokens of a window").between(2, 1 << 20);
  list.add("accumulation", &o.accumulation, "batches whose gradients make one step")
      .between(1, 1 << 20);
  list.begin_group("learning rate and optimizer");
  list.add("learning_rate", &o.learning_rate, "peak learning rate").above(0).most = 1;
  list.add("schedule", &o.schedule, "curve from the peak to the last learning rate")
      .one_of(schedule_names());
  list.add("final_learning_rate_ratio", &o.final_learning_rate_ratio,
           "learning rate of the last step, as a share of the peak")
      .between(0, 1);
  list.add("warmup_ratio", &o.warmup_ratio, "share of the steps in which the rate rises")
      .between(0, 1);
  list.add("beta1", &o.beta1, "AdamW: decay of the first moment").between(0, 0.9999);
  list.add("beta2", &o.beta2, "AdamW: decay of the second moment").between(0, 0.99999);
  list.add("epsilon", &o.epsilon, "AdamW: added to the root of the second moment").above(0).most =
      1;
  list.add("weight_decay", &o.weight_decay, "AdamW: decay of matrices, not of vectors")
      .between(0, 1);
  list.add("clip_norm", &o.clip_norm, "largest length of a gradient; 0: no clipping")
      .between(0, 1e9);
  list.add("train_embeddings", &o.train_embeddings,
           "train the embeddings, and with them a tied output");
  list.begin_group("what is learnt");
  list.add("loss", &o.loss, "divergence of the student from the teacher")
      .one_of(objective::divergence_names());
  list.add("kl_weight", &o.kl_weight, "weight of that divergence").between(0, 1e3);
  list.add("ce_weight", &o.ce_weight, "weight of the cross-entropy with the text").between(0, 1e3);
  list.add(
          "terms", &o.terms,
          "the whole objective instead: names and weights, such as 0.5, or 1 to 0.1 over the steps")
      .one_of(objective::term_names());
  list.add("temperature", &o.temperature, "temperature of both distributions").between(1e-3, 1e3);
  list.append(objective::describe(o.of_terms));
  list.begin_group("memory, precision and saving");
  list.add("precision", &o.precision, "of matrix products; auto: what is fast on this processor")
      .one_of({"auto", "float32", "bfloat16"});
  // These two bound memory, but sums of gradients round otherwise with others.
  list.add("tokens_at_once", &o.tokens_at_once,
           "tokens of one pass, whose activations are kept; more are no faster")
      .between(1, 1e12);
  list.add("vocab_chunk", &o.vocab_chunk,
           "tokens whose logits over the vocabulary exist at a time; 0: chosen")
      .between(0, 1e12);
  list.add("checkpoint_every", &o.checkpoint_every, "steps from one checkpoint to the next")
      .at_least(1)
      .decides_nothing();
  return list;
}

}  // namespace espalier::distill
