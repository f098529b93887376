// SPDX-License-Identifier: Apache-2.0
// espalier quantize MODEL --out FILE.gguf: quantizes and exports a model.
#include "stage_verb.h"

namespace espalier::tool {

void add_quantize(CLI::App& app, Common& common) {
  const auto verb = add_stage_verb(app, common, "quantize", "GGUF to write");
  add_resume(*verb->app, common);
}

}  // namespace espalier::tool
