// SPDX-License-Identifier: Apache-2.0
// Cuts the vocabulary in the files of a tokenizer. Internal to vocabulary.cpp.
//
//   tokenizer.json         model.vocab, model.merges and model.unk_id, added_tokens, the ids of
//                          post_processor and padding. All other parts stay as they are.
//   tokenizer.model        where no tokenizer.json says the same: the pieces; all other fields stay
//   tokenizer_config.json  the keys of added_tokens_decoder; beside tokenizer.json the generic class
#pragma once
#include <cstdint>
#include <vector>

#include "text/tokenizer.h"

namespace espalier::checkpoint {

// Puts the files of `data`, cut to `keep`, into `out`. Files of another kind are made anew where
// the result is written.
void cut_files(const text::TokenizerData& data, const std::vector<std::int64_t>& keep,
               text::TokenizerData& out);

}  // namespace espalier::checkpoint
