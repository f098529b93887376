// SPDX-License-Identifier: Apache-2.0
// plan.json, written for people to read and edit, and read as untrusted input. Runs of indices are
// strings "a-b" (both ends kept).
#include <charconv>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "format/json_input.h"
#include "plan/prune_plan.h"

namespace espalier::plan {
namespace {

using Json = nlohmann::ordered_json;

Json runs(const std::vector<std::int64_t>& indices) {
  Json out = Json::array();
  for (std::size_t i = 0; i < indices.size();) {
    std::size_t j = i;
    while (j + 1 < indices.size() && indices[j + 1] == indices[j] + 1) ++j;
    if (j >= i + 2) {
      out.push_back(std::to_string(indices[i]) + "-" + std::to_string(indices[j]));
      i = j + 1;
    } else {
      out.push_back(indices[i++]);
    }
  }
  return out;
}
Json selection_json(const Selection& selection) {
  return selection ? runs(*selection) : Json("all");
}

// nlohmann indents arrays one element per line. A plan has thousands of indices, so arrays of
// scalars go on one line.
std::string layout(const Json& json, int depth = 0) {
  if (!json.is_structured() || json.empty()) return json.dump();
  const bool one_line = json.is_array() && !json.front().is_structured();
  const auto new_line = [one_line](int level) {
    return one_line ? std::string()
                    : std::string("\n").append(static_cast<std::size_t>(2 * level), ' ');
  };
  const std::string indent = new_line(depth + 1), outer = new_line(depth);
  std::string text(1, json.is_array() ? '[' : '{');
  bool first = true;
  for (const auto& [key, value] : json.items()) {
    if (!first) text += one_line ? ", " : ",";
    first = false;
    text += indent;
    if (json.is_object()) text += Json(key).dump() + ": ";
    text += layout(value, depth + 1);
  }
  return text + outer + (json.is_array() ? "]" : "}");
}

class Parser {
 public:
  explicit Parser(std::string where) : where_(std::move(where)) {}

  std::vector<std::int64_t> indices(const Json& json, std::int64_t size,
                                    const std::string& key) const {
    ESP_CHECK(json.is_array(), input, where_, ": ", key,
              ": expected a list of indices and \"a-b\" runs");
    std::vector<std::int64_t> out;
    const auto add = [&](std::int64_t index) {
      ESP_CHECK(index >= 0 && index < size, input, where_, ": ", key, ": index ", index,
                " is out of range, there are ", size);
      ESP_CHECK(out.empty() || index > out.back(), input, where_, ": ", key, ": index ", index,
                " after ", out.back(), "; indices must rise");
      out.push_back(index);
    };
    for (const Json& item : json) {
      if (item.is_number_integer()) {
        ESP_CHECK(!item.is_number_unsigned() ||
                      item.get<std::uint64_t>() < static_cast<std::uint64_t>(size),
                  input, where_, ": ", key, ": index ", item.dump(), " is out of range, there are ",
                  size);
        add(item.get<std::int64_t>());
        continue;
      }
      ESP_CHECK(item.is_string(), input, where_, ": ", key, ": ", item.dump(),
                " is neither an index nor a run \"a-b\"");
      const std::string& text = item.get_ref<const std::string&>();
      std::int64_t a = 0, b = 0;
      const char* const end = text.data() + text.size();
      const auto [dash, first_error] = std::from_chars(text.data(), end, a);
      bool ok = first_error == std::errc() && dash != end && *dash == '-';
      if (ok) {
        const auto [stop, second_error] = std::from_chars(dash + 1, end, b);
        ok = second_error == std::errc() && stop == end && a <= b;
      }
      ESP_CHECK(ok, input, where_, ": ", key, ": \"", text, "\" is not a run \"a-b\" with a <= b");
      add(a);
      ESP_CHECK(b < size, input, where_, ": ", key, ": index ", b, " is out of range, there are ",
                size);  // checked before the loop, because b may be huge
      for (std::int64_t index = a + 1; index <= b; ++index) out.push_back(index);
    }
    return out;
  }
  Selection selection(const Json& object, std::string_view name, std::int64_t size,
                      const std::string& prefix) const {
    const auto it = object.find(name);
    if (it == object.end() || *it == "all") return std::nullopt;
    return indices(*it, size, prefix + std::string(name));
  }
  void only_keys(const Json& object, const std::vector<std::string_view>& known,
                 const std::string& prefix) const {
    for (const auto& [key, value] : object.items()) {
      bool found = false;
      for (const std::string_view k : known) found = found || key == k;
      ESP_CHECK(found, input, where_, ": unknown key \"", prefix, key, "\"");
    }
  }

 private:
  std::string where_;
};

}  // namespace

std::string to_json(const PrunePlan& plan, const arch::Arch& arch, const arch::ModelDims& before) {
  Json json;
  json["source_sha256"] = plan.source_sha256;
  if (!plan.basis.empty()) json["basis"] = plan.basis;
  json["parameters_before"] = arch::parameters(arch, before);
  json["parameters_after"] = arch::parameters(arch, dims_after(plan, before));
  json["keep_layers"] = runs(plan.keep_layers);
  json["layers"] = Json::array();
  for (const LayerSelection& layer : plan.layers) {
    Json entry;
    for (const arch::Axis axis : arch::kCutAxes)
      entry[std::string(arch::axis_name(axis))] = selection_json(layer[axis]);
    json["layers"].push_back(entry);
  }
  json["hidden"] = selection_json(plan.hidden);
  json["vocab"] = selection_json(plan.vocab);
  return layout(json) + "\n";
}

PrunePlan prune_plan_from_json(const std::string& text, const arch::ModelDims& before,
                               const std::string& where) {
  Json json = format::parse_json<Json>(text, where);
  ESP_CHECK(json.is_object(), input, where, ": expected a JSON object");
  const Parser parser(where);
  parser.only_keys(json,
                   {"source_sha256", "basis", "parameters_before", "parameters_after",
                    "keep_layers", "layers", "hidden", "vocab"},
                   "");

  PrunePlan plan;
  const auto text_of = [&](const char* key, std::string& value) {
    const auto it = json.find(key);
    if (it == json.end()) return;
    ESP_CHECK(it->is_string(), input, where, ": ", key, " is not a string");
    value = it->get<std::string>();
  };
  text_of("source_sha256", plan.source_sha256);
  text_of("basis", plan.basis);
  ESP_CHECK(json.contains("keep_layers"), input, where, ": keep_layers is missing");
  const Json& keep = json["keep_layers"];
  plan.keep_layers = keep == "all" ? keep_all(before).keep_layers
                                   : parser.indices(keep, before.n_layers(), "keep_layers");
  if (!json.contains("layers")) {  // a plan that only drops layers may omit them
    plan.layers.resize(plan.keep_layers.size());
  } else {
    const Json& layers = json["layers"];
    ESP_CHECK(layers.is_array() && layers.size() == plan.keep_layers.size(), input, where,
              ": layers must have one entry for each of the ", plan.keep_layers.size(),
              " kept layers");
    std::vector<std::string_view> known;
    known.reserve(arch::kCutAxes.size());
    for (const arch::Axis axis : arch::kCutAxes) known.push_back(arch::axis_name(axis));
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const std::string prefix = "layers[" + std::to_string(i) + "].";
      ESP_CHECK(layers[i].is_object(), input, where, ": layers[", i, "] is not an object");
      parser.only_keys(layers[i], known, prefix);
      const arch::LayerDims& sizes = before.layers[static_cast<std::size_t>(plan.keep_layers[i])];
      LayerSelection& selection = plan.layers.emplace_back();
      for (const arch::Axis axis : arch::kCutAxes)
        selection[axis] = parser.selection(layers[i], arch::axis_name(axis), sizes[axis], prefix);
    }
  }
  plan.hidden = parser.selection(json, "hidden", before.hidden, "");
  plan.vocab = parser.selection(json, "vocab", before.vocab, "");
  validate(plan, before, where);
  return plan;
}

}  // namespace espalier::plan
