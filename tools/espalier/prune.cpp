// SPDX-License-Identifier: Apache-2.0
// espalier prune MODEL --out DIR: structured pruning. With a plan and without calibration text it
// needs no LibTorch.
#include "stage_verb.h"

namespace espalier::tool {

void add_prune(CLI::App& app, Common& common) {
  const auto verb = add_stage_verb(app, common, "prune", "directory to write");
  add_resume(*verb->app, common);
}

}  // namespace espalier::tool
