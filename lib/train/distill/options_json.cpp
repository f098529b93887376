// SPDX-License-Identifier: Apache-2.0
// Writes the options as JSON.
#include "distill/options_json.h"

namespace espalier::distill {

nlohmann::ordered_json options_json(const TrainOptions& o) {
  return {{"tokens", o.tokens},
          {"batch", o.batch},
          {"sequence", o.sequence},
          {"accumulation", o.accumulation},
          {"learning_rate", o.learning_rate},
          {"final_learning_rate_ratio", o.final_learning_rate_ratio},
          {"warmup_ratio", o.warmup_ratio},
          {"beta1", o.beta1},
          {"beta2", o.beta2},
          {"epsilon", o.epsilon},
          {"weight_decay", o.weight_decay},
          {"clip_norm", o.clip_norm},
          {"kl_weight", o.kl_weight},
          {"ce_weight", o.ce_weight},
          {"temperature", o.temperature},
          {"loss", o.loss},
          {"precision", o.precision},
          {"vocab_chunk", o.vocab_chunk},        // these two bound memory, but sums of
          {"tokens_at_once", o.tokens_at_once},  // gradients round otherwise with others
          {"train_embeddings", o.train_embeddings},
          {"seed", o.seed}};
}

}  // namespace espalier::distill
