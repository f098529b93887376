// SPDX-License-Identifier: Apache-2.0
// espalier plan RECIPE: validates every stage and predicts parameters, bytes, memory, disk and
// time.
#include <algorithm>
#include <iomanip>
#include <sstream>
#include <vector>

#include "core/duration.h"
#include "core/notes.h"
#include "core/pipe.h"
#include "core/units.h"
#include "recipe/recipe.h"
#include "reference.h"
#include "verb.h"

namespace espalier::tool {

namespace {

using Json = nlohmann::ordered_json;

struct Column {
  const char* key;
  const char* title;
  int width;
};
constexpr Column kColumns[] = {{"parameters", "parameters", 12},
                               {"active_parameters", "active", 10},
                               {"bytes", "size", 10},
                               {"peak_memory_bytes", "memory", 10},
                               {"disk_bytes", "disk", 10},
                               {"seconds", "time", 10}};

std::string shown(const Json& row, const std::string& key) {
  if (!row.contains(key) || row[key].is_null()) return "-";
  if (key == "seconds") return core::human_duration(row[key].get<double>());
  const auto value = row[key].get<std::int64_t>();
  return key.ends_with("parameters") ? core::human_count(value) : core::human_bytes(value);
}

std::string table(const Json& plan) {
  std::ostringstream text;
  for (const auto& missing : plan.at("missing"))
    text << "not there yet: " << missing.get<std::string>() << "\n";
  const Json& stages = plan.at("stages");
  std::vector<Column> columns;
  for (const Column& column : kColumns) {
    const bool optional =
        column.key == std::string("active_parameters") || column.key == std::string("seconds");
    if (!optional || std::any_of(stages.begin(), stages.end(),
                                 [&](const Json& stage) { return stage.contains(column.key); }))
      columns.push_back(column);
  }
  std::size_t widest = 5;
  for (const Json& stage : stages)
    widest = std::max(widest, stage.at("name").get<std::string>().size());
  const auto begin = [&](const std::string& name, const std::string& kind) {
    text << std::left << std::setw(static_cast<int>(widest) + 2) << name << std::setw(10) << kind
         << std::right;
  };
  begin("stage", "kind");
  for (const Column& column : columns) text << std::setw(column.width) << column.title;
  text << "\n";
  for (const Json& stage : stages) {
    begin(stage.at("name").get<std::string>(), stage.at("kind").get<std::string>());
    for (const Column& column : columns)
      text << std::setw(column.width) << shown(stage, column.key);
    text << "\n";
  }
  for (const Json& stage : stages)
    if (stage.contains("device_memory_bytes"))
      text << stage.at("name").get<std::string>() << ": a step takes "
           << shown(stage, "device_memory_bytes") << " of a device, where one is used\n";
  if (plan.contains("seconds"))
    text << "in all about " << shown(plan, "seconds") << " on this machine\n";
  return text.str();
}

}  // namespace

void add_plan(CLI::App& app, Common& common) {
  auto path = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand(
      "plan", "validate a recipe and predict parameters, bytes, memory and time");
  verb->add_option("recipe", *path, "recipe YAML")->type_name("FILE")->required();
  auto no_time = std::make_shared<bool>(false);
  verb->add_flag("--no-time", *no_time,
                 "do not measure how fast this machine is, which takes up to 10 seconds");
  verb->footer("Example:\n  espalier plan recipe.yaml");
  add_common(*verb, common);
  describe_json(*verb,
                {{"recipe", "name of the recipe"},
                 {"missing", "files that the run will need and that are not there"},
                 {"stages",
                  "name, kind, parameters, bytes, peak_memory_bytes, disk_bytes, "
                  "device_memory_bytes of a step of training, and expected seconds of each stage"},
                 {"seconds", "of all stages, as far as they are known; absent with `--no-time`"},
                 {"refused_by_run", "why the run will refuse the teacher, if it will"}});
  verb->callback([path, no_time, &common] {
    apply_device(common);
    const nlohmann::ordered_json plan =
        recipe::plan_recipe(core::readable_again(*path), {*no_time ? 0.0 : 10.0, common.threads});
    if (plan.contains("refused_by_run"))
      core::note(plan["refused_by_run"].get<std::string>() + "; run refuses this recipe");
    print(common, plan, table(plan));
  });
}

}  // namespace espalier::tool
