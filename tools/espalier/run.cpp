// SPDX-License-Identifier: Apache-2.0
// espalier run RECIPE --out DIR: runs the stages of a recipe and skips finished stages.
#include <sstream>

#include "core/error.h"
#include "core/pipe.h"
#include "recipe/recipe.h"
#include "reference.h"
#include "verb.h"

namespace espalier::tool {

namespace {

struct RunFlags {
  std::string path;
  recipe::RunOptions options;
  bool check = false;
};

std::string told(const nlohmann::ordered_json& result) {
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
  return text.str();
}

void run(const RunFlags& flags, const Common& common) {
  const nlohmann::ordered_json result =
      recipe::run_recipe(flags.path, flags.options, common.progress());
  print(common, result, told(result));
  std::string failures;
  for (const auto& line : result.at("failures")) failures += "\n  " + line.get<std::string>();
  ESP_CHECK(failures.empty(), check_failed, flags.path, ": not passed:", failures,
            "\nThe card and the report in ", flags.options.out, " say more.");
}

void check(const RunFlags& flags, const Common& common) {
  const nlohmann::ordered_json result =
      recipe::check_recipe(flags.path, flags.options, common.progress());
  std::string text, differing;
  for (const auto& stage : result.at("stages")) {
    const std::string name = stage.at("name").get<std::string>();
    text += name + ": " + stage.at("result").get<std::string>() + "\n";
    if (stage["result"] == "differs") differing += (differing.empty() ? "" : ", ") + name;
  }
  print(common, result, text);
  ESP_CHECK(differing.empty(), check_failed, flags.options.out,
            ": made again, these stages are other: ", differing);
}

}  // namespace

void add_run(CLI::App& app, Common& common) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App* verb = app.add_subcommand("run", "run a recipe, skipping the stages that are done");
  verb->footer("Example:\n  espalier run recipe.yaml --out out");
  verb->add_option("recipe", flags->path, "recipe YAML")->type_name("FILE")->required();
  verb->add_option("--out", flags->options.out, "directory of the results")
      ->type_name("DIR")
      ->required();
  verb->add_option("--until", flags->options.until, "last stage to run")->type_name("STAGE");
  CLI::Option* from =
      verb->add_option("--from", flags->options.from,
                       "make this stage and all later ones again; earlier ones must be finished")
          ->type_name("STAGE");
  verb->add_flag("--check", flags->check,
                 "make every finished stage again beside the first, and compare SHA-256; nothing "
                 "of the first changes")
      ->excludes(from);
  auto no_time = std::make_shared<bool>(false);
  verb->add_flag("--no-time", *no_time,
                 "do not measure first how long the stages will take, for the report");
  add_common(*verb, common, true);
  add_max_ram(*verb, common);
  describe_json(*verb, {{"recipe", "name of the recipe"},
                        {"output", "folder of the results"},
                        {"passed", "whether parity and all gates passed"},
                        {"failures", "a line for each that did not"},
                        {"same", "with `--check`: whether all stages came out the same"},
                        {"stages",
                         "name, kind, status, folder and metrics of each stage; with `--check` "
                         "the two hashes"}});
  verb->callback([flags, no_time, &common, verb] {
    refuse_unused(*verb, "on a recipe, which has a seed of its own", {"--seed"},
                  "change 'seed' in " + flags->path);
    apply_device(common);
    flags->path = core::readable_again(flags->path);
    flags->options.bench_program = common.device_program();
    flags->options.threads = common.threads;
    flags->options.timing_seconds = *no_time ? 0 : 10;
    flags->options.max_ram = common.max_ram_bytes();
    flags->check ? check(*flags, common) : run(*flags, common);
  });
}

}  // namespace espalier::tool
