// SPDX-License-Identifier: Apache-2.0
// espalier cache --teacher MODEL --text FILE --out DIR: writes sparse teacher logits once, for
// `distill --cached`.
#include "stage_verb.h"

namespace espalier::tool {

void add_cache(CLI::App& app, Common& common) {
  const auto verb = add_stage_verb(app, common, "cache", "directory to write");
  add_resume(*verb->app, common);
}

}  // namespace espalier::tool
