// SPDX-License-Identifier: Apache-2.0
// What stock llama.cpp makes of a file's name and tokenizer, where that is not what the file means.
#pragma once
#include <string>

#include "export/export_gguf.h"

namespace espalier::exporter {

// general.name. Of a name with "phi-3" or "phi3" in it, stock readers conclude that tokens take the
// white space behind them, and do not load a vocabulary without the tokens of Phi-3. Other models
// get a name without it, and a note says so.
std::string name_for_readers(const checkpoint::Checkpoint& source, const ExportOptions& options);

}  // namespace espalier::exporter
