// SPDX-License-Identifier: Apache-2.0
// espalier plan RECIPE: validates every stage and predicts parameters, bytes, memory and disk.
#include <algorithm>
#include <iomanip>
#include <sstream>

#include "core/notes.h"
#include "core/units.h"
#include "recipe/recipe.h"
#include "reference.h"
#include "verb.h"

namespace espalier::tool {

void add_plan(CLI::App& app, Common& common) {
  auto path = std::make_shared<std::string>();
  CLI::App* verb =
      app.add_subcommand("plan", "validate a recipe and predict parameters, bytes and memory");
  verb->add_option("recipe", *path, "recipe YAML")->required();
  add_common(*verb, common);
  describe_json(
      *verb,
      {{"recipe", "name of the recipe"},
       {"missing", "files that the run will need and that are not there"},
       {"stages", "name, kind, parameters, bytes, peak_memory_bytes and disk_bytes of each stage"},
       {"refused_by_run", "why the run will refuse the teacher, if it will"}});
  verb->callback([path, &common] {
    const nlohmann::ordered_json plan = recipe::plan_recipe(*path);
    if (plan.contains("refused_by_run"))
      core::note(plan["refused_by_run"].get<std::string>() + "; run refuses this recipe");
    std::ostringstream text;
    for (const auto& missing : plan.at("missing"))
      text << "not there yet: " << missing.get<std::string>() << "\n";
    std::size_t widest = 5;
    for (const auto& stage : plan.at("stages"))
      widest = std::max(widest, stage.at("name").get<std::string>().size());
    const auto row = [&](const std::string& name, const std::string& kind) {
      text << std::left << std::setw(static_cast<int>(widest) + 2) << name << std::setw(8) << kind
           << std::right;
    };
    const auto& stages = plan.at("stages");
    const bool mixture = std::any_of(stages.begin(), stages.end(), [](const auto& stage) {
      return stage.contains("active_parameters");
    });
    row("stage", "kind");
    text << std::setw(12) << "parameters";
    if (mixture) text << std::setw(10) << "active";
    text << std::setw(10) << "size" << std::setw(10) << "memory" << std::setw(10) << "disk" << "\n";
    for (const auto& stage : plan.at("stages")) {
      row(stage.at("name").get<std::string>(), stage.at("kind").get<std::string>());
      for (const std::string key :
           {"parameters", "active_parameters", "bytes", "peak_memory_bytes", "disk_bytes"}) {
        if (key == "active_parameters" && !mixture) continue;
        const bool count = key.ends_with("parameters");
        std::string shown = "-";
        if (stage.contains(key) && !stage[key].is_null()) {
          const std::int64_t v = stage[key].get<std::int64_t>();
          shown = count ? core::human_count(v) : core::human_bytes(v);
        }
        text << std::setw(key == "parameters" ? 12 : 10) << shown;
      }
      text << "\n";
    }
    print(common, plan, text.str());
  });
}

}  // namespace espalier::tool
