// SPDX-License-Identifier: Apache-2.0
// YAML -> Comparison. Every key is checked. Those of stages are checked when the cells are made.
#include "compare/comparison.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "core/units.h"
#include "recipe/option_reader.h"
#include "stages/reading.h"
#include "stages/stage.h"

namespace espalier::compare {
namespace {

using recipe::YamlMap;

// Names become parts of folders: letters, digits, '-', '_' and '.'.
void require_name(const YamlMap& map, const std::string& key, const std::string& name) {
  for (const char c : name)
    if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.') ||
        name.front() == '.')
      map.refuse(key, "'" + name + "': letters, digits, '-', '_' and '.' only");
}

std::vector<std::uint64_t> seeds_of(YamlMap& map) {
  std::vector<std::uint64_t> out;
  for (const std::string& text : map.texts("seeds")) {
    recipe::at_key(map, "seeds", [&] { out.push_back(recipe::parse_seed(text)); });
    if (std::count(out.begin(), out.end(), out.back()) > 1)
      map.refuse("seeds", text + " stands there twice");
  }
  return out;
}

// Names under `key`, all of which are known.
template <typename Named>
std::vector<std::string> names_of(YamlMap& map, const std::string& key,
                                  const std::vector<Named>& known) {
  std::vector<std::string> names;
  for (const Named& one : known) names.push_back(one.name);
  const std::vector<std::string> out = map.texts(key);
  for (const std::string& name : out)
    recipe::at_key(map, key, [&] { options::require_known(names, name); });
  return out;
}

void parse_texts(YamlMap& map, Comparison& out) {
  auto texts = map.map("texts");
  if (!texts)
    map.refuse("texts",
               "is missing: texts: {calibration: FILE, evaluation: {NAME: FILE, NAME: FILE}}");
  texts->required_text("calibration");
  out.calibration = texts->path_of("calibration");
  out.calibration_place = texts->where("calibration");
  recipe::read_options(*texts, stages::describe(out.reading, stages::kControlTokens));
  auto evaluation = texts->map("evaluation");
  if (!evaluation || evaluation->keys().empty())
    texts->refuse("evaluation", "names the texts on which models are measured: {NAME: FILE}");
  for (const std::string& name : evaluation->keys()) {
    require_name(*evaluation, name, name);
    out.texts.push_back({name, evaluation->path_of(name)});
    std::error_code unreadable;
    if (!std::filesystem::exists(out.texts.back().path, unreadable))
      evaluation->refuse(name, out.texts.back().path + " does not exist");
    if (core::same_file(out.texts.back().path, out.calibration))
      evaluation->refuse(name, "is the calibration text, so that nothing could be measured on it");
  }
  texts->finish();
}

void parse_protocol(YamlMap& map, Protocol& protocol) {
  auto keys = map.map("protocol");
  if (!keys) return;
  options::List list;
  list.add("context", &protocol.context, "").between(4, 1 << 20);
  list.add("windows", &protocol.windows, "").at_least(0);
  list.add("scoring", &protocol.scoring, "").one_of({"windows", "llama.cpp"});
  list.add_choice<bool>("divergence", protocol.divergence, {{"yes", true}, {"no", false}}, "");
  list.add("tokens", &protocol.tokens, "").between(1, 1e15);
  list.add("sequence", &protocol.sequence, "").between(2, 1 << 20);
  list.add("resamples", &protocol.resamples, "").between(100, 1e6);
  recipe::read_options(*keys, list);
  keys->finish();
}

// A share of the parameters becomes their number.
void read_share(YamlMap& map, YamlMap& keys, std::int64_t parameters) {
  const auto share = map.text("ratio");
  if (!share) return;
  double value = 0;
  recipe::at_key(map, "ratio", [&] { value = options::parse_number(*share); });
  if (!(value > 0 && value < 1))
    map.refuse("ratio", *share +
                            ": expected a number above 0 and below 1, the share of the parameters "
                            "that stays");
  if (map.has("parameters")) map.refuse("ratio", "stands for 'parameters'; leave one of them out");
  keys.set("parameters",
           std::to_string(std::llround(std::floor(value * static_cast<double>(parameters)))));
}

Ratio parse_ratio(YamlMap& map, std::int64_t parameters) {
  const auto given = map.text("name");
  static_cast<void>(map.text("ratio"));
  YamlMap keys = map.rest();
  std::vector<std::string> known;
  const auto stage = stages::find_kind("prune")->make();
  for (const options::Option& option : stage->options()) known.push_back(option.name);
  for (const std::string& key : keys.keys())
    recipe::at_key(map, key, [&] { options::require_known(known, key); });
  std::string name;
  for (const std::string& key : map.keys())
    if (key != "name")
      if (const auto value = map.text(key)) name += (name.empty() ? "" : "-") + key + "-" + *value;
  ESP_CHECK(!name.empty(), input, map.where(),
            ": a size is missing, such as {ffn: 1024} or {ratio: 0.8}");
  read_share(map, keys, parameters);
  if (given) name = *given;
  require_name(map, "name", name);
  return {name, std::move(keys)};
}

// A model that another tool wrote: where it is.
void read_given(YamlMap& map, Scheme& scheme) {
  for (const char* key : {"directory", "gguf"}) {
    const auto path = map.text(key);
    if (!path) continue;
    if (!scheme.model.empty()) map.refuse(key, "leave one of 'directory' and 'gguf' out");
    scheme.model = map.path_of(key);
    scheme.kind = "given";
  }
}

Scheme parse_scheme(YamlMap& map, const Comparison& comparison) {
  Scheme out{map.required_text("name"), map.where("name"), "prune", map.rest(), "", {}, {}};
  require_name(map, "name", out.name);
  if (out.name == "dense") map.refuse("name", "'dense' is the model itself; choose another name");
  if (const Scheme* other = comparison.find_scheme(out.name))
    map.refuse("name", "'" + out.name + "' is the name of the scheme at " + other->place +
                           " too; give one of them another");
  out.ratios = names_of(map, "ratios", comparison.ratios);
  out.seeds = seeds_of(map);
  if (const auto kind = map.text("kind")) {
    recipe::at_key(map, "kind", [&] { options::require_known({"prune", "external"}, *kind); });
    out.kind = *kind;
  }
  read_given(map, out);
  out.keys = map.rest();
  if (out.kind == "given") map.finish();
  return out;
}

void parse_distill(YamlMap& map, Comparison& out) {
  auto keys = map.map("distill");
  if (!keys) return;
  out.distilled_schemes = names_of(*keys, "schemes", out.schemes);
  out.distilled_ratios = names_of(*keys, "ratios", out.ratios);
  out.distill = keys->rest();
}

std::int64_t parameters_of(const Comparison& comparison) {
  std::error_code unreadable;
  ESP_CHECK(std::filesystem::exists(comparison.model, unreadable), input, comparison.model_place,
            ": model: ", comparison.model, " does not exist");
  const auto model = checkpoint::Checkpoint::open(comparison.model);
  return arch::parameters(model.arch(), model.dims());
}

}  // namespace

bool covers(const std::vector<std::string>& names, const std::string& name) {
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

const Scheme* Comparison::find_scheme(const std::string& scheme) const {
  for (const Scheme& one : schemes)
    if (one.name == scheme) return &one;
  return nullptr;
}

const Ratio* Comparison::find_ratio(const std::string& ratio) const {
  for (const Ratio& one : ratios)
    if (one.name == ratio) return &one;
  return nullptr;
}

Comparison parse_comparison(const std::string& path) {
  YamlMap map = YamlMap::load(path);
  map.allow_only({"name", "model", "texts", "protocol", "ratios", "seeds", "schemes", "distill",
                  "file", "importance", "keep_models"});
  Comparison out;
  out.path = path;
  out.text = core::read_text_file(path);
  out.name = map.text("name").value_or(std::filesystem::path(path).stem().string());
  map.required_text("model");
  out.model = map.path_of("model");
  out.model_place = map.where("model");
  parse_texts(map, out);
  parse_protocol(map, out.protocol);
  options::List list;
  list.add_choice<bool>("importance", out.importance, {{"yes", true}, {"no", false}}, "");
  list.add_choice<bool>("keep_models", out.keep_models, {{"yes", true}, {"no", false}}, "");
  recipe::read_options(map, list);
  out.seeds = seeds_of(map);
  if (out.seeds.empty()) out.seeds = {0};
  std::vector<YamlMap> ratios = map.maps("ratios"), schemes = map.maps("schemes");
  if (schemes.empty()) map.refuse("schemes", "is missing: a list of what is compared");
  if (auto file = map.map("file")) out.file = std::move(*file);
  const std::int64_t parameters = parameters_of(out);
  for (YamlMap& ratio : ratios) {
    Ratio one = parse_ratio(ratio, parameters);
    if (out.find_ratio(one.name) != nullptr)
      ratio.refuse("name", "'" + one.name + "' is the name of another size too");
    out.ratios.push_back(std::move(one));
  }
  for (YamlMap& scheme : schemes) out.schemes.push_back(parse_scheme(scheme, out));
  parse_distill(map, out);
  for (const Scheme& scheme : out.schemes)
    ESP_CHECK(scheme.kind == "given" || !out.ratios.empty(), input, map.where(),
              ": 'ratios' is missing: the sizes at which schemes are compared, such as [{ffn: "
              "1024}, {ratio: 0.8}]");
  return out;
}

}  // namespace espalier::compare
