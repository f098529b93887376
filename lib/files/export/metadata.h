// SPDX-License-Identifier: Apache-2.0
// The header of an exported file: everything but the bytes of the tensors.
#pragma once
#include <cstdint>

#include "export/export_gguf.h"
#include "format/gguf.h"

namespace espalier::exporter {

// general.file_type, which readers only print. It is the number of the mix in llama.cpp's list. For
// other mixes, it is the number of the format with most bytes.
std::uint32_t file_type(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan);

// The tokens of the tokenizer, filled up to the rows of the embedding with unused tokens. Readers
// take the size of the vocabulary from this list.
text::TokenizerData full_vocabulary(const text::TokenizerData& data, std::int64_t vocab);

// Sets the metadata and the list of tensors, in file order.
void declare(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
             const ExportOptions& options, format::GgufWriter& writer);

}  // namespace espalier::exporter
