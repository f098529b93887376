// SPDX-License-Identifier: Apache-2.0
// One function per kind of stage. A key that a recipe may give and that is missing here, and not in
// the list of those that change no result, fails a test (identity_test.cpp).
#include "recipe/identity.h"

#include "distill/options_json.h"

namespace espalier::recipe {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json optional(const std::optional<T>& v) {
  return v ? Json(*v) : Json(nullptr);
}

Json json_of(const text::CalibrationOptions& o) {
  return {{"tokens", o.tokens}, {"sequence", o.sequence}, {"seed", o.seed}};
}

Json json_of(const PruneStage& s) {
  const plan::PruneTarget& t = s.options.target;
  Json out{{"from", s.from},
           {"plan", !s.options.plan_path.empty()},
           {"layers", optional(t.layers)},
           {"hidden", optional(t.hidden)}};
  for (const arch::Axis axis : arch::kCutAxes)
    out[std::string(arch::axis_name(axis))] = optional(t.sizes[axis]);
  out.update(Json{{"vocab", optional(t.vocab)},
                  {"parameters", optional(t.parameters)},
                  {"ffn_granule", t.ffn_granule},
                  {"hidden_granule", t.hidden_granule},
                  {"criterion", s.options.criterion},
                  {"least_squares", s.options.compensation == prune::Compensation::least_squares},
                  {"ridge", optional(s.options.ridge)},
                  {"calibration", json_of(s.options.calibration)}});
  return out;
}
Json json_of(const DistillStage& s) {
  Json out{{"from", s.from}, {"teacher", s.teacher}};
  out.update(distill::options_json(s.options));
  return out;
}
Json json_of(const QuantizeStage& s) {
  Json overrides = Json::object();
  for (const auto& [role, id] : s.overrides) overrides[role] = format::info(id).name;
  return {{"from", s.from},
          {"format", s.format},
          {"target_bytes", optional(s.target_bytes)},
          {"no_larger_than", s.no_larger_than},
          {"candidates", s.candidates},
          {"tensors", overrides},
          {"rounding", quant::rounding_name(s.rounding)},
          {"no_tokenizer", s.no_tokenizer},
          {"calibration_tokens", s.calibration.tokens},
          {"seed", s.calibration.seed}};
}
Json json_of(const VerifyStage& s) {
  return {{"of", s.of},           {"student", s.student}, {"compare", s.compare},
          {"context", s.context}, {"windows", s.windows}, {"gates", s.gates}};
}
Json json_of(const ReportStage& s) { return {{"title", s.title}}; }

}  // namespace

std::vector<StageInput> inputs_of(const Stage& stage, const Recipe& recipe) {
  std::vector<StageInput> out;
  for (const std::string& need : stage.needs()) out.push_back({StageInput::Kind::model, need});
  const auto file = [&](const char* name, const std::string& path) {
    if (!path.empty()) out.push_back({StageInput::Kind::file, name, path});
  };
  const std::string kind = stage.kind();
  if (kind == "prune" || kind == "distill" || kind == "quantize")
    file("text.train", recipe.train_text);
  // Pruning and training refuse a training text that holds held-out text.
  if (kind == "prune" || kind == "distill" || kind == "verify")
    file("text.held_out", recipe.held_out_text);
  if (const auto* p = std::get_if<PruneStage>(&stage.what)) file("plan file", p->options.plan_path);
  if (kind == "report")
    for (const Stage& earlier : recipe.stages) {
      if (earlier.name == stage.name) break;
      out.push_back({StageInput::Kind::record, earlier.name});
    }
  return out;
}

Json options_json(const Stage& stage, const Recipe& recipe, const RunOptions& options) {
  Json out = std::visit([](const auto& s) { return json_of(s); }, stage.what);
  out["kind"] = stage.kind();
  if (stage.kind() == "report") out["recipe"] = recipe.text;
  if (const auto* v = std::get_if<VerifyStage>(&stage.what)) {
    out["threads"] = options.threads;  // a card states speeds
    out["file"] = delivered(*recipe.find(v->of));
  }
  return out;
}

checkpoint::Manifest identity_of(const Stage& stage, const Recipe& recipe,
                                 const RunOptions& options,
                                 const std::function<std::string(const StageInput&)>& hash) {
  checkpoint::Manifest out;
  out.stage = stage.kind();
  out.algorithm = checkpoint::algorithm_version(out.stage);
  for (const StageInput& input : inputs_of(stage, recipe)) out.inputs[input.name] = hash(input);
  out.options = options_json(stage, recipe, options);
  return out;
}

}  // namespace espalier::recipe
