// SPDX-License-Identifier: Apache-2.0
// Reads training options and checks their ranges.
#include "recipe/train_config.h"

#include "core/error.h"
#include "distill/loss.h"

namespace espalier::recipe {
namespace {

void take(YamlMap& map, const char* key, std::int64_t& out, std::int64_t least) {
  if (const auto v = map.count(key)) {
    if (*v < least) map.refuse(key, "expected at least " + std::to_string(least));
    out = *v;
  }
}
void take(YamlMap& map, const char* key, double& out, double least, double most) {
  if (const auto v = map.real(key)) {
    if (!(*v >= least && *v <= most)) map.refuse(key, "out of range");
    out = *v;
  }
}

}  // namespace

distill::TrainOptions read_train_options(YamlMap& map) {
  distill::TrainOptions o;
  take(map, "tokens", o.tokens, 1);
  take(map, "batch", o.batch, 1);
  take(map, "sequence", o.sequence, 2);
  take(map, "accumulation", o.accumulation, 1);
  take(map, "learning_rate", o.learning_rate, 0, 1);
  take(map, "final_learning_rate_ratio", o.final_learning_rate_ratio, 0, 1);
  take(map, "warmup_ratio", o.warmup_ratio, 0, 1);
  take(map, "beta1", o.beta1, 0, 0.9999);
  take(map, "beta2", o.beta2, 0, 0.99999);
  take(map, "epsilon", o.epsilon, 0, 1);
  take(map, "weight_decay", o.weight_decay, 0, 1);
  take(map, "clip_norm", o.clip_norm, 0, 1e9);
  take(map, "kl_weight", o.kl_weight, 0, 1e3);
  take(map, "ce_weight", o.ce_weight, 0, 1e3);
  take(map, "temperature", o.temperature, 1e-3, 1e3);
  take(map, "checkpoint_every", o.checkpoint_every, 1);
  take(map, "tokens_at_once", o.tokens_at_once, 1);
  take(map, "vocab_chunk", o.vocab_chunk, 0);
  if (const auto v = map.text("loss")) {
    try {
      static_cast<void>(distill::loss_by_name(*v));
    } catch (const core::Error& error) {
      map.refuse("loss", error.what());
    }
    o.loss = *v;
  }
  if (const auto v = map.text("precision")) {
    if (*v != "auto" && *v != "float32" && *v != "bfloat16")
      map.refuse("precision", "'" + *v + "': expected auto, float32 or bfloat16");
    o.precision = *v;
  }
  if (const auto v = map.boolean("train_embeddings")) o.train_embeddings = *v;
  return o;
}

distill::TrainOptions read_train_config(const std::string& path) {
  YamlMap map = YamlMap::load(path);
  const distill::TrainOptions options = read_train_options(map);
  map.finish();
  return options;
}

}  // namespace espalier::recipe
