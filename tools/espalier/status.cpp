// SPDX-License-Identifier: Apache-2.0
// espalier status DIR: what a run has done, is doing, or left undone.
#include <sstream>

#include "recipe/run_record.h"
#include "reference.h"
#include "verb.h"

namespace espalier::tool {

void add_status(CLI::App& app, Common& common) {
  auto out = std::make_shared<std::string>();
  CLI::App* verb =
      app.add_subcommand("status", "say what a run has done, is doing, or left undone");
  verb->footer("Example:\n  espalier status out");
  verb->add_option("dir", *out, "the --out of a run")->type_name("DIR")->required();
  add_common(*verb, common);
  describe_json(*verb, {{"output", "the folder"},
                        {"recipe", "path of the recipe"},
                        {"state", "running, finished or stopped"},
                        {"process", "process of the last run"},
                        {"host", "its machine"},
                        {"since", "when it began, in UTC"},
                        {"ended", "when it ended; null when it did not"},
                        {"stages",
                         "name, kind and state of each stage: done, running, stopped or "
                         "waiting; seconds of those that are done"}});
  verb->callback([out, &common] {
    const nlohmann::ordered_json status = recipe::run_status(*out);
    std::ostringstream text;
    text << status.at("recipe").get<std::string>() << ": " << status.at("state").get<std::string>();
    if (status["state"] == "running")
      text << ", process " << status["process"].dump() << " on "
           << status["host"].get<std::string>() << " since " << status["since"].get<std::string>();
    text << "\n";
    for (const auto& stage : status.at("stages"))
      text << "  " << stage.at("name").get<std::string>() << " ("
           << stage.at("kind").get<std::string>() << "): " << stage.at("state").get<std::string>()
           << "\n";
    print(common, status, text.str());
  });
}

}  // namespace espalier::tool
