// SPDX-License-Identifier: Apache-2.0
// YAML -> Recipe. Every key is checked.
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/units.h"
#include "plan/quant_plan.h"
#include "recipe/gates.h"
#include "recipe/option_reader.h"
#include "recipe/stage.h"
#include "recipe/yaml_reader.h"

namespace espalier::recipe {
namespace {

std::string one_of(YamlMap& map, const std::string& key, const std::string& value,
                   const std::vector<std::string>& known) {
  for (const std::string& k : known)
    if (k == value) return value;
  const std::string nearest = core::nearest_name(value, known.data(), known.size());
  map.refuse(key, "'" + value + "' is not known" +
                      (nearest.empty() ? "" : "; did you mean '" + nearest + "'?"));
}

format::FormatId format_of(YamlMap& map, const std::string& key, const std::string& name) {
  std::vector<std::string> names;
  for (const format::QuantFormat& f : format::all_formats()) names.emplace_back(f.name);
  return *format::format_by_name(one_of(map, key, name, names));
}

// What is delivered lies in --out itself, so that no recipe writes elsewhere.
std::string delivered_name(YamlMap& map, const std::string& otherwise) {
  const std::string name = map.text("deliver").value_or(otherwise);
  if (name.find('/') != std::string::npos || name == "." || name == "..")
    map.refuse("deliver", "'" + name + "': expected the name of a file in --out, without a folder");
  return name;
}

PruneStage parse_prune(YamlMap& map, const Recipe& recipe) {
  PruneStage s;
  s.from = map.text("from").value_or("teacher");
  plan::PruneTarget& t = s.options.target;
  t.layers = map.count("layers");
  t.hidden = map.count("hidden");
  for (const arch::Axis axis : arch::kCutAxes)
    t.sizes[axis] = map.count(std::string(arch::axis_name(axis)));
  t.vocab = map.count("vocab");
  t.parameters = map.count("parameters");
  if (const auto v = map.count("ffn_granule")) t.ffn_granule = *v;
  if (const auto v = map.count("hidden_granule")) t.hidden_granule = *v;
  s.options.plan_path = map.path_of("plan");
  const bool has_plan = !s.options.plan_path.empty();
  if (has_plan) {
    // A plan says what is kept; compensation on top is asked for by name.
    s.options.compensation = prune::Compensation::none;
    std::vector<std::string> keys{"layers", "hidden"};
    for (const arch::Axis axis : arch::kCutAxes) keys.emplace_back(arch::axis_name(axis));
    keys.insert(keys.end(), {"vocab", "parameters", "ffn_granule", "hidden_granule", "criterion"});
    for (const std::string& key : keys)
      if (map.has(key))
        map.refuse(key,
                   "'plan' says what is kept already; leave out one of 'plan' and '" + key + "'");
  }
  std::vector<std::string> criteria;
  for (const auto& [name, source] : prune::criterion_names()) criteria.push_back(name);
  if (const auto v = map.text("criterion"))
    s.options.criterion = one_of(map, "criterion", *v, criteria);
  if (const auto v = map.text("compensate"))
    s.options.compensation = one_of(map, "compensate", *v, {"none", "least_squares"}) == "none"
                                 ? prune::Compensation::none
                                 : prune::Compensation::least_squares;
  s.options.ridge = map.real("ridge");
  if (s.options.ridge && *s.options.ridge < 0)
    map.refuse("ridge", "expected a number that is not negative");
  if (s.options.ridge && s.options.compensation == prune::Compensation::none)
    map.refuse("ridge", "belongs to 'compensate: least_squares'; leave it out");
  if (const auto v = map.count("tokens")) s.options.calibration.tokens = *v;
  if (const auto v = map.count("sequence")) s.options.calibration.sequence = *v;
  s.options.text_path = recipe.train_text;
  s.options.held_out_path = recipe.held_out_text;
  s.options.calibration.seed = recipe.seed;
  return s;
}

DistillStage parse_distill(YamlMap& map, const Recipe& recipe) {
  DistillStage s;
  s.from = map.required_text("from");
  s.teacher = map.text("teacher").value_or("teacher");
  read_options(map, distill::describe(s.options));
  s.options.seed = recipe.seed;
  if (s.options.tokens < 1) map.refuse("tokens", "the number of tokens to train on is missing");
  return s;
}

QuantizeStage parse_quantize(YamlMap& map, const Recipe& recipe) {
  QuantizeStage s;
  s.from = map.required_text("from");
  if (const auto v = map.text("format")) s.format = one_of(map, "format", *v, plan::mix_names());
  s.target_bytes = map.bytes("target_bytes");
  s.no_larger_than = map.text("no_larger_than").value_or("");
  if (!s.format.empty() + s.target_bytes.has_value() + !s.no_larger_than.empty() != 1)
    map.refuse("format", "give exactly one of format, target_bytes and no_larger_than");
  s.candidates = map.texts("candidates");
  for (const std::string& c : s.candidates) format_of(map, "candidates", c);
  if (!s.candidates.empty() && !s.format.empty())
    map.refuse("candidates",
               "'format' leaves nothing to choose; candidates belong to target_bytes "
               "and no_larger_than");
  if (auto tensors = map.map("tensors")) {
    for (const std::string& role : tensors->keys()) {
      const std::string base = role.substr(0, role.find('.'));
      if (!arch::role_by_name(base))
        tensors->refuse(role, "no such role (attn_q, ffn_down, token_embd, ...)");
      s.overrides[role] = format_of(*tensors, role, tensors->required_text(role));
    }
    tensors->finish();
  }
  if (const auto v = map.text("rounding"))
    s.rounding =
        quant::rounding_by_name(one_of(map, "rounding", *v, {"nearest", "imatrix", "gptq"}));
  if (const auto v = map.count("calibration_tokens")) {
    if (s.rounding == quant::Rounding::nearest)
      map.refuse("calibration_tokens", "'rounding: nearest' reads no text; leave one of them out");
    s.calibration.tokens = *v;
  }
  s.calibration.seed = recipe.seed;
  s.no_tokenizer = map.boolean("no_tokenizer").value_or(false);
  s.deliver = delivered_name(map, "");
  return s;
}

VerifyStage parse_verify(YamlMap& map) {
  VerifyStage s;
  s.of = map.required_text("of");
  s.student = map.text("student").value_or("");
  s.compare = map.texts("compare");
  if (const auto v = map.count("context")) s.context = *v;
  if (const auto v = map.count("windows")) s.windows = *v;
  if (auto gates = map.map("gates")) s.gates = read_gates(*gates);
  s.deliver = delivered_name(map, s.deliver);
  return s;
}

Stage parse_stage(YamlMap& map, const Recipe& recipe) {
  Stage stage;
  stage.name = map.required_text("name");
  stage.place = map.where("name");
  for (char c : stage.name)
    if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.') ||
        stage.name.front() == '.')
      map.refuse("name", "'" + stage.name + "': letters, digits, '-', '_' and '.' only");
  const std::string kind = one_of(map, "kind", map.required_text("kind"),
                                  {"prune", "distill", "quantize", "verify", "report"});
  if (kind == "prune") stage.what = parse_prune(map, recipe);
  if (kind == "distill") stage.what = parse_distill(map, recipe);
  if (kind == "quantize") stage.what = parse_quantize(map, recipe);
  if (kind == "verify") stage.what = parse_verify(map);
  if (kind == "report") {
    ReportStage r;
    r.title = map.text("title").value_or(recipe.name);
    r.deliver = delivered_name(map, r.deliver);
    stage.what = r;
  }
  map.finish();
  stage.known_keys = map.known();
  return stage;
}

// Two stages that deliver one file would leave only the later one's.
void check_delivery(const Stage& stage, const Recipe& recipe) {
  const std::string file = delivered(stage);
  if (file.empty()) return;
  for (const Stage& other : recipe.stages)
    ESP_CHECK(delivered(other) != file, input, stage.place, ": stages '", other.name, "' and '",
              stage.name, "' both deliver ", file, "; give one of them another 'deliver'");
  ESP_CHECK(file != "stages", input, stage.place, ": stage '", stage.name,
            "' cannot deliver 'stages', which is the folder of the stages; name another file");
}

// Every name that a stage reads must be an earlier stage of a suitable kind.
void check_needs(const Stage& stage, const Recipe& recipe) {
  for (const std::string& need : stage.needs()) {
    if (need == "teacher") continue;
    const Stage* other = recipe.find(need);
    std::vector<std::string> names{"teacher"};
    for (const Stage& s : recipe.stages) names.push_back(s.name);
    const std::string nearest = core::nearest_name(need, names.data(), names.size());
    ESP_CHECK(other != nullptr, input, stage.place, ": stage '", stage.name, "' needs '", need,
              "', which is not an earlier stage",
              nearest.empty() ? "" : "; did you mean '" + nearest + "'?");
    ESP_CHECK(other->kind() == "prune" || other->kind() == "distill" || other->kind() == "quantize",
              input, stage.place, ": stage '", stage.name, "' needs the model of '", need,
              "', but that is a ", other->kind(), " stage");
  }
  const auto must_be_quantize = [&](const std::string& need, const char* key) {
    const Stage* other = need.empty() ? nullptr : recipe.find(need);
    ESP_CHECK(need.empty() || (other != nullptr && other->kind() == "quantize"), input, stage.place,
              ": ", key, ": '", need, "' is not a quantize stage");
  };
  if (const auto* q = std::get_if<QuantizeStage>(&stage.what))
    must_be_quantize(q->no_larger_than, "no_larger_than");
  if (const auto* v = std::get_if<VerifyStage>(&stage.what)) must_be_quantize(v->of, "of");
}

}  // namespace

std::string delivered(const Stage& stage) {
  if (const auto* q = std::get_if<QuantizeStage>(&stage.what)) return q->deliver;
  if (const auto* v = std::get_if<VerifyStage>(&stage.what)) return v->deliver;
  if (const auto* r = std::get_if<ReportStage>(&stage.what)) return r->deliver;
  return "";
}

std::string Stage::kind() const {
  static const char* const names[] = {"prune", "distill", "quantize", "verify", "report"};
  return names[what.index()];
}

std::vector<std::string> Stage::needs() const {
  std::vector<std::string> out;
  const auto add = [&](const std::string& stage) {
    if (!stage.empty() && stage != "none") out.push_back(stage);
  };
  if (const auto* s = std::get_if<PruneStage>(&what)) add(s->from);
  if (const auto* s = std::get_if<DistillStage>(&what)) {
    add(s->from);
    add(s->teacher);
  }
  if (const auto* s = std::get_if<QuantizeStage>(&what)) {
    add(s->from);
    add(s->no_larger_than);
  }
  if (const auto* s = std::get_if<VerifyStage>(&what)) {
    add("teacher");
    add(s->of);
    add(s->student);
    for (const std::string& c : s->compare) add(c);
  }
  return out;
}

const Stage* Recipe::find(const std::string& stage_name) const {
  for (const Stage& s : stages)
    if (s.name == stage_name) return &s;
  return nullptr;
}

Recipe parse_recipe(const std::string& path) {
  YamlMap map = YamlMap::load(path);
  Recipe recipe;
  recipe.path = path;
  recipe.text = core::read_text_file(path);
  recipe.name = map.required_text("name");
  recipe.seed = static_cast<std::uint64_t>(map.count("seed").value_or(0));
  map.required_text("teacher");
  recipe.teacher = map.path_of("teacher");
  recipe.teacher_place = map.where("teacher");
  recipe.teacher_shape = map.path_of("teacher_shape");
  auto text = map.map("text");
  if (!text)
    map.refuse("text",
               "the training and held-out texts are missing: text: {train: FILE, held_out: FILE}");
  text->required_text("train");
  recipe.train_text = text->path_of("train");
  recipe.held_out_text = text->path_of("held_out");
  recipe.train_place = text->where("train");
  recipe.held_out_place = text->where("held_out");
  if (core::same_file(recipe.train_text, recipe.held_out_text))
    text->refuse("held_out",
                 "is the training text, so that nothing could be measured on it; name another "
                 "text, or leave it out");
  recipe.train_sha256 = text->text("train_sha256");
  recipe.held_out_sha256 = text->text("held_out_sha256");
  text->finish();
  for (const std::string& key : text->known()) recipe.known_keys.push_back("text." + key);
  for (YamlMap& item : map.maps("stages")) {
    Stage stage = parse_stage(item, recipe);
    // "none" stands for no teacher; the others are what manifests call the texts.
    static const std::set<std::string> taken{"teacher", "none", "text.train", "text.held_out"};
    ESP_CHECK(!taken.contains(stage.name) && recipe.find(stage.name) == nullptr, input, stage.place,
              ": stage name '", stage.name, "' is taken");
    check_needs(stage, recipe);
    check_delivery(stage, recipe);
    recipe.stages.push_back(std::move(stage));
  }
  map.finish();
  for (const std::string& key : map.known()) recipe.known_keys.push_back(key);
  ESP_CHECK(!recipe.stages.empty(), input, map.where(), ": a recipe needs at least one stage");
  return recipe;
}

}  // namespace espalier::recipe
