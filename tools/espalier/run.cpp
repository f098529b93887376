// SPDX-License-Identifier: Apache-2.0
// espalier run RECIPE --out DIR: runs the stages of a recipe and skips finished stages.
#include <sstream>

#include "core/error.h"
#include "recipe/recipe.h"
#include "verb.h"

namespace espalier::tool {

void add_run(CLI::App& app, Common& common) {
  struct Flags {
    std::string path;
    recipe::RunOptions options;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("run", "run a recipe, skipping the stages that are done");
  verb->add_option("recipe", flags->path, "recipe YAML")->required();
  verb->add_option("--out", flags->options.out, "directory of the results")->required();
  add_common(*verb, common, true);
  verb->callback([flags, &common, verb] {
    refuse_unused(*verb, "on a recipe, which has a seed of its own", {"--seed"},
                  "change 'seed' in " + flags->path);
    apply_device(common);
    flags->options.bench_program = common.device_program();
    flags->options.threads = common.threads;
    const nlohmann::ordered_json result =
        recipe::run_recipe(flags->path, flags->options, common.progress());
    std::ostringstream text;
    for (const auto& stage : result.at("stages")) {
      text << stage.at("name").get<std::string>() << ": " << stage.at("status").get<std::string>();
      if (stage.at("kind") == "verify") {
        const std::string gates = stage.at("metrics").at("gates").get<std::string>();
        text << "; parity " << stage["metrics"].at("parity").get<std::string>() << ", "
             << (gates == "none" ? "no gates set" : "gates " + gates);
      }
      text << "\n";
    }
    print(common, result, text.str());
    std::string failures;
    for (const auto& line : result.at("failures")) failures += "\n  " + line.get<std::string>();
    ESP_CHECK(failures.empty(), check_failed, flags->path, ": not passed:", failures,
              "\nThe card and the report in ", flags->options.out, " say more.");
  });
}

}  // namespace espalier::tool
