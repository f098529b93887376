// SPDX-License-Identifier: Apache-2.0
// What determines a stage's result, as JSON. A stage is skipped only when this and the hashes of
// its inputs are unchanged.
#include "arch/role.h"
#include "recipe/stage.h"

namespace espalier::recipe {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json optional(const std::optional<T>& v) {
  return v ? Json(*v) : Json(nullptr);
}

Json json_of(const prune::CalibrationOptions& o) {
  return {{"tokens", o.tokens}, {"sequence", o.sequence}, {"seed", o.seed}};
}

Json json_of(const PruneStage& s) {
  const plan::PruneTarget& t = s.options.target;
  return {{"layers", optional(t.layers)},
          {"hidden", optional(t.hidden)},
          {"ffn", optional(t.ffn)},
          {"kv_groups", optional(t.kv_groups)},
          {"q_per_kv", optional(t.q_per_kv)},
          {"vocab", optional(t.vocab)},
          {"parameters", optional(t.parameters)},
          {"ffn_granule", t.ffn_granule},
          {"hidden_granule", t.hidden_granule},
          {"criterion", s.options.criterion},
          {"least_squares", s.options.compensation == prune::Compensation::least_squares},
          {"ridge", optional(s.options.ridge)},
          {"calibration", json_of(s.options.calibration)}};
}
Json json_of(const DistillStage& s) {
  const distill::TrainOptions& o = s.options;
  return {{"teacher", s.teacher},
          {"tokens", o.tokens},
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
          {"train_embeddings", o.train_embeddings},
          {"seed", o.seed}};
}
Json json_of(const QuantizeStage& s) {
  Json overrides = Json::object();
  for (const auto& [role, id] : s.overrides) overrides[role] = format::info(id).name;
  Json out{{"format", s.format},
           {"target_bytes", optional(s.target_bytes)},
           {"no_larger_than", s.no_larger_than},
           {"candidates", s.candidates},
           {"tensors", overrides},
           {"rounding", quant::rounding_name(s.rounding)},
           {"calibration_tokens", s.calibration.tokens},
           {"seed", s.calibration.seed}};
  if (s.no_tokenizer) out["no_tokenizer"] = true;
  return out;
}
Json json_of(const VerifyStage& s) {
  return {{"of", s.of},           {"student", s.student}, {"compare", s.compare},
          {"context", s.context}, {"windows", s.windows}, {"gates", s.gates}};
}
Json json_of(const ReportStage& s) { return {{"title", s.title}}; }

}  // namespace

Json options_json(const Stage& stage, const Recipe& recipe) {
  Json out = std::visit([](const auto& s) { return json_of(s); }, stage.what);
  out["kind"] = stage.kind();
  if (stage.kind() == "report") out["recipe"] = recipe.text;
  return out;
}

}  // namespace espalier::recipe
