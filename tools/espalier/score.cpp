// SPDX-License-Identifier: Apache-2.0
// espalier score MODEL --text FILE --criterion NAME --out FILE: writes the importance of every
// index of every axis. With --list it names the criteria.
#include "core/error.h"
#include "prune/pruner.h"
#include "stage_verb.h"

namespace espalier::tool {
namespace {

void list_criteria(const Common& common) {
  nlohmann::ordered_json names = nlohmann::ordered_json::array();
  std::string text;
  for (const prune::CriterionFacts& facts : prune::criterion_facts()) {
    std::string axes;
    for (const std::string& axis : facts.axes) axes += (axes.empty() ? "" : ", ") + axis;
    names.push_back({{"name", facts.name}, {"source", facts.source}, {"axes", facts.axes}});
    text += facts.name + "  [" + axes + "]  " + facts.source + "\n";
  }
  print(common, {{"criteria", names}}, text);
}

}  // namespace

void add_score(CLI::App& app, Common& common) {
  const auto verb = add_stage_verb(app, common, "score", "safetensors file to write");
  auto list = std::make_shared<bool>(false);
  verb->app->add_flag("--list", *list, "list the criteria, and do nothing else");
  add_resume(*verb->app, common);
  for (const char* name : {"model", "--text", "--out"})
    verb->app->get_option(name)->required(false);
  verb->instead = [list](StageVerb& self) {
    if (*list) {
      list_criteria(*self.common);
      return true;
    }
    ESP_CHECK(
        !self.inputs.at("from").empty() && !self.inputs.at("text").empty() && !self.out.empty(),
        usage, "score: give MODEL, --text and --out (or --list)");
    return false;
  };
}

}  // namespace espalier::tool
