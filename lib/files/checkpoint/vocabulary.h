// SPDX-License-Identifier: Apache-2.0
// Cuts the vocabulary: renumbers a tokenizer, and the token ids in config files, to the kept ids.
// The tokenizer must be able to encode every text, and to reach every kept token. So bytes, special
// tokens, and the chain of every kept token (text/merge_chain.h) must be kept. A plan that drops
// any of them is refused, and the message names the token.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace espalier::checkpoint {

// `keep`: sorted ids. Ids beyond the tokenizer's (padding rows of the embedding) may be kept or
// dropped. The files of a directory are rewritten (vocabulary_files.h), or made anew where the
// result is written.
text::TokenizerData cut_tokenizer(const text::TokenizerData& data,
                                  const std::vector<std::int64_t>& keep);

// The ids that make `part` of `whole`: cut_tokenizer() of them has the vocabulary of `part`.
// Nothing where there are no such ids.
std::optional<std::vector<std::int64_t>> ids_of_part(const text::TokenizerData& whole,
                                                     const text::TokenizerData& part);

// Whether encoding needs the token whatever a text says: bytes, special and added tokens.
bool is_always_kept(const text::TokenizerData& data, std::size_t id);

// The token ids that a config.json or generation_config.json names (bos, eos, pad, ...), numbers or
// lists of numbers. Those that it merely forbids are not among them.
std::vector<std::int64_t> token_ids_of(const std::string& json_text, const std::string& where);
// Renumbers them. Forbidden tokens that are not kept are left out. An id beyond the `rows` of the
// embedding, which no text can have, becomes null.
std::string remap_token_ids(const std::string& json_text, const std::vector<std::int64_t>& keep,
                            std::int64_t rows, const std::string& where);

// The new number of `id`, its place in `keep`.
std::optional<std::int64_t> new_id(std::int64_t id, const std::vector<std::int64_t>& keep);

}  // namespace espalier::checkpoint
