// SPDX-License-Identifier: Apache-2.0
// espalier calibrate MODEL --text FILE --out imatrix.gguf: collects activation statistics for
// quantization.
#include "stage_verb.h"

namespace espalier::tool {

void add_calibrate(CLI::App& app, Common& common) {
  const auto verb = add_stage_verb(app, common, "calibrate",
                                   "importance matrix to write, in llama.cpp's GGUF layout");
  add_resume(*verb->app, common);
}

}  // namespace espalier::tool
