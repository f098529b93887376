// SPDX-License-Identifier: Apache-2.0
// Cuts the vocabulary: renumbers a tokenizer, and the token ids in config files, to the kept ids.
// The tokenizer must be able to encode every text. So bytes, special tokens, and the parts from
// which kept tokens are merged must be kept. A plan that drops any of them is refused, and the
// message names the token.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace espalier::checkpoint {

// `keep`: sorted ids. Ids beyond the tokenizer's (padding rows of the embedding) may be kept or
// dropped. Writing rebuilds the files of the result, because the source's files do not fit it.
text::TokenizerData cut_tokenizer(const text::TokenizerData& data,
                                  const std::vector<std::int64_t>& keep);

// Renumbers the token ids bos/eos/pad/... (numbers or lists of numbers) in a config.json or
// generation_config.json.
std::string remap_token_ids(const std::string& json_text, const std::vector<std::int64_t>& keep,
                            const std::string& where);

}  // namespace espalier::checkpoint
