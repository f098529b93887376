// SPDX-License-Identifier: Apache-2.0
// tokenizer.json of a unigram model:
//
//   model          {"type": "Unigram", "vocab": [[piece, score], ...], "unk_id", "byte_fallback"}
//   normalizer     Precompiled with the character map, if there is one, and then
//   pre_tokenizer  one of these, by TokenizerSettings::space_rule
//     every_segment     normalizers that cut white space as sentencepiece does, put U+2581 in
//                       front, and write it for spaces. This is the form that is written of a
//                       tokenizer.model.
//     metaspace_first   Strip at the right, Replace of several spaces; Metaspace. transformers
//                       writes this form of a tokenizer.model.
//     metaspace_always  WhitespaceSplit, Metaspace. XLM-R and T5 have it.
//
// Metaspace cuts at spaces. So nothing but U+2581 itself may stand behind one in a piece.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/hf_files.h"
#include "text/token_table.h"

namespace espalier::text {

// Regular expressions of the written form: spaces at both ends, and several in a row.
inline constexpr std::string_view kTrimmedSpaces = "\\A +|[ \xE2\x96\x81]+\\z";
inline constexpr std::string_view kSeveralSpaces = " {2,}";

// The steps of normalizer and pre_tokenizer. Other steps are refused by name.
HfPipeline read_unigram_pipeline(const std::vector<JsonPlace>& normalizers,
                                 const std::vector<JsonPlace>& steps, TokenizerData& data);
void read_unigram_pieces(const JsonPlace& model, const HfPipeline& pipeline, TokenTable& table,
                         TokenizerData& data);
// A token that is looked for in normalized text. It is refused where the character map changes it.
void require_unmapped(const JsonPlace& added, const TokenizerData& data);

// Whether a tokenizer.json gives the same ids. It has no place for user-defined pieces, nor for
// unused ones that a text could contain. For those a tokenizer.model is written.
bool has_unigram_json(const TokenizerData& data);
nlohmann::ordered_json unigram_normalizer(const TokenizerData& data);
nlohmann::ordered_json unigram_pre_tokenizer(const TokenizerData& data);
std::string unigram_model(const TokenizerData& data);  // JSON text

}  // namespace espalier::text
