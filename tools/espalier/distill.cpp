// SPDX-License-Identifier: Apache-2.0
// espalier distill (--teacher MODEL | --cached DIR) --student DIR --text FILE --out DIR: knowledge
// distillation.
#include "stage_verb.h"

namespace espalier::tool {

void add_distill(CLI::App& app, Common& common) {
  const auto verb = add_stage_verb(app, common, "distill", "directory to write");
  verb->trains = true;
  add_experimental_device(*verb->app, common);
  add_resume(*verb->app, common);
}

}  // namespace espalier::tool
