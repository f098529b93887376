// SPDX-License-Identifier: Apache-2.0
// espalier verify FILE.gguf --against MODEL --text FILE: makes the device card. Exits with 5 when a
// gate fails.
#include "recipe/option_reader.h"
#include "stage_verb.h"

namespace espalier::tool {

void add_verify(CLI::App& app, Common& common) {
  const auto verb = add_stage_verb(app, common, "verify", nullptr);
  verb->app->add_option("--card", verb->out, "device card to write (JSON)")
      ->type_name("PATH")
      ->group("inputs and output");
  verb->app->add_option("--gates", verb->more, "YAML file of gates (configs/gates/)")
      ->type_name("FILE")
      ->group("gates");
  verb->out_flag = "--card";
  add_work(*verb->app, common, "CARD.work beside the --card, else none, and nothing is kept");
  verb->read_more = [](StageVerb& self) {
    recipe::read_map_file(self.more, self.stage->options().at("gates"));
  };
}

}  // namespace espalier::tool
