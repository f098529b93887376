// SPDX-License-Identifier: Apache-2.0
// Cutting the vocabulary: a tokenizer and the token ids in config files, renumbered to the kept
// ids. What the tokenizer needs to encode every text (bytes, special tokens, the parts that kept
// tokens are merged from) must be kept; anything else is refused by name.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace espalier::checkpoint {

// `keep`: sorted ids. Ids beyond the tokenizer's (padding rows of the embedding) may be kept or
// not. The result is rebuilt from its data when it is written: the source's own files do not fit
// it.
text::TokenizerData cut_tokenizer(const text::TokenizerData& data,
                                  const std::vector<std::int64_t>& keep);

// Renumbers bos/eos/pad/... token ids (numbers or lists of numbers) in a config.json or
// generation_config.json.
std::string remap_token_ids(const std::string& json_text, const std::vector<std::int64_t>& keep,
                            const std::string& where);

}  // namespace espalier::checkpoint
