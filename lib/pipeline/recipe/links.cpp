// SPDX-License-Identifier: Apache-2.0
// Joins the inputs of a stage to what earlier stages make, to the recipe's texts, and to files.
#include <algorithm>
#include <filesystem>
#include <optional>

#include "core/error.h"
#include "core/units.h"
#include "recipe/option_reader.h"
#include "recipe/step.h"
#include "recipe/yaml_reader.h"
#include "stages/weight.h"

namespace espalier::recipe {
namespace {

namespace fs = std::filesystem;
using stages::Artifact;

bool takes(const stages::Input& input, Artifact artifact) {
  return std::find(input.takes.begin(), input.takes.end(), artifact) != input.takes.end();
}
bool takes_models(const stages::Input& input) {
  return takes(input, Artifact::model) || takes(input, Artifact::gguf);
}

std::string wanted(const stages::Input& input) {
  std::string out;
  for (const Artifact artifact : input.takes)
    out += (out.empty() ? "" : " or ") + std::string(artifact_name(artifact));
  return out;
}

std::string made_by(const Step& step) {
  std::string out;
  for (const stages::Output& output : step.stage->outputs())
    out += (out.empty() ? "" : " and ") + std::string(artifact_name(output.artifact));
  return out;
}

class Joiner {
 public:
  Joiner(YamlMap& map, const stages::Input& input, const std::string& stage, const Recipe& recipe)
      : map_(map), input_(input), stage_(stage), recipe_(recipe) {}

  // Nothing for "none".
  std::vector<Link> join(const std::string& value) const {
    if (input_.or_none && value == "none") return {};
    if (value == "teacher" && takes_models(input_))
      return {{input_.key, "teacher", recipe_.teacher, "", {}, true, true}};
    if (value == "text.train" && takes(input_, Artifact::text))
      return text("text.train", recipe_.train_text);
    if (value == "text.held_out" && takes(input_, Artifact::text))
      return text("text.held_out", recipe_.held_out_text);
    if (const Step* other = recipe_.find(value)) return {of_stage(*other)};
    if (const auto link = further_output(value)) return {*link};
    if (takes_models(input_) && !takes(input_, Artifact::text)) refuse_name(value);
    return {file(value)};
  }

  // One of several texts, "NAME:WEIGHT". Manifests tell texts apart by their names.
  void join_weighted(const std::string& value, std::vector<Link>& out) const {
    stages::Weighted item;
    at_key(map_, input_.key, [&] {
      item = stages::split_weight(value, [&](const std::string& word) {
        std::error_code unreadable;
        return std::filesystem::exists(map_.resolved(word), unreadable);
      });
    });
    std::vector<Link> links{{input_.key, stages::kSelf, stages::kSelf}};
    if (item.name != stages::kSelf) links = join(item.name);
    for (Link& link : links) {
      link.weight = item.weight;
      const std::string name = link.name;
      for (int n = 2; std::any_of(out.begin(), out.end(),
                                  [&](const Link& other) { return other.name == link.name; });
           ++n)
        link.name = name + " " + std::to_string(n);
      out.push_back(std::move(link));
    }
  }

 private:
  std::vector<Link> text(const std::string& name, const std::string& path) const {
    if (path.empty()) return {};
    return {{input_.key, name, path}};
  }

  Link of_stage(const Step& other) const {
    const std::vector<stages::Output> outputs = other.stage->outputs();
    for (std::size_t i = 0; i < outputs.size(); ++i)
      if (takes(input_, outputs[i].artifact)) {
        const Artifact artifact = outputs[i].artifact;
        return {input_.key,
                i == 0 ? other.name : other.name + "/" + outputs[i].file,
                "",
                other.name,
                outputs[i],
                i == 0,
                artifact == Artifact::model || artifact == Artifact::gguf};
      }
    map_.refuse(input_.key, "stage '" + stage_ + "' needs " + wanted(input_) + ", but '" +
                                other.name + "' is a " + std::string(other.kind->name) +
                                " stage, which makes " + made_by(other));
  }

  // "cut/model/plan.json": what a stage leaves beside its result.
  std::optional<Link> further_output(const std::string& value) const {
    const auto slash = value.find('/');
    const Step* other = slash == std::string::npos ? nullptr : recipe_.find(value.substr(0, slash));
    if (other == nullptr) return std::nullopt;
    for (const stages::Output& output : other->stage->outputs())
      if (output.file == value.substr(slash + 1))
        return Link{input_.key, value, "", other->name, output, false, false};
    return std::nullopt;
  }

  std::string nearest(const std::string& value) const {
    std::vector<std::string> names{"teacher"};
    for (const Step& step : recipe_.stages) names.push_back(step.name);
    const std::string near = core::nearest_name(value, names.data(), names.size());
    return near.empty() ? "" : "; did you mean '" + near + "'?";
  }
  [[noreturn]] void refuse_name(const std::string& value) const {
    map_.refuse(input_.key, "stage '" + stage_ + "' needs '" + value +
                                "', which is not an earlier stage" + nearest(value));
  }

  Link file(const std::string& value) const {
    const std::string path = map_.resolved(value);
    std::error_code unreadable;
    if (std::filesystem::exists(path, unreadable))
      return {input_.key,
              input_.key + " " + (input_.many ? fs::path(path).filename().string() : "file"), path};
    // NAME=PATH of a list
    const auto at = input_.many ? value.find('=') : value.npos;
    if (at != value.npos && at > 0) {
      const std::string named = map_.resolved(value.substr(at + 1));
      if (std::filesystem::exists(named, unreadable))
        return {input_.key, input_.key + " " + value.substr(0, at), named};
    }
    map_.refuse(input_.key,
                "'" + value + "' is neither an earlier stage nor a file" + nearest(value));
  }

  YamlMap& map_;
  const stages::Input& input_;
  const std::string& stage_;
  const Recipe& recipe_;
};

}  // namespace

std::vector<Link> links_of(YamlMap& map, const stages::Input& input, const std::string& stage,
                           const Recipe& recipe) {
  const Joiner joiner(map, input, stage, recipe);
  std::vector<Link> out;
  if (input.value) {
    out = joiner.join(*input.value);
  } else if (input.many) {
    for (const std::string& value : map.texts(input.key))
      for (Link& link : joiner.join(value)) out.push_back(std::move(link));
  } else if (input.weighted && map.has_list(input.key)) {
    for (const std::string& value : map.texts(input.key)) joiner.join_weighted(value, out);
  } else if (const auto value = map.text(input.key)) {
    if (input.weighted)
      joiner.join_weighted(*value, out);
    else
      out = joiner.join(*value);
  } else if (!input.otherwise.empty()) {
    out = joiner.join(input.otherwise);
  }
  if (out.empty() && input.required)
    core::fail(core::ErrorKind::input, map.where(), ": '", input.key, "' is missing: ", input.help);
  return out;
}

}  // namespace espalier::recipe
