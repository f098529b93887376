// SPDX-License-Identifier: Apache-2.0
// The header of an exported file: everything but the tensors' bytes.
#pragma once
#include <cstdint>

#include "export/export_gguf.h"
#include "format/gguf.h"

namespace espalier::exporter {

// general.file_type, which readers only print: the number of the mix in llama.cpp's list, for other
// mixes that of the format with most bytes.
std::uint32_t file_type(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan);

// Tokens of the tokenizer, filled up to the embedding's rows with unused ones: readers take the
// vocabulary's size from the list.
text::TokenizerData full_vocabulary(const text::TokenizerData& data, std::int64_t vocab);

// Metadata and tensor list, in file order.
void declare(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
             const ExportOptions& options, format::GgufWriter& writer);

}  // namespace espalier::exporter
