// SPDX-License-Identifier: Apache-2.0
// A SentencePiece model file (tokenizer.model): the part of it that tokenizing needs. Kudo,
// Richardson 2018 (arXiv 1808.06226).
//
//   message ModelProto
//     1  piece*            message: 1 text, 2 score (float),
//                                   3 type (1 normal, 2 unknown, 3 control, 4 user-defined,
//                                           5 unused, 6 byte)
//     2  trainer settings  message: 3 model type, 24 spaces behind words, 35 byte fallback,
//                                   45 46 47 48 texts of unknown, BOS, EOS, padding
//     3  normalizer        message: 1 name, 2 precompiled character map, 3 dummy prefix,
//                                   4 extra white space removed, 5 spaces escaped
//     5  denormalizer      message like 3
//
// Unknown fields are skipped, as the format requires. Reading does not judge what is supported.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace espalier::text {

enum class PieceModel : std::int32_t { unigram = 1, bpe = 2, word = 3, character = 4 };

struct Piece {
  std::string text;
  float score = 0.0f;
  TokenType type = TokenType::normal;
};

// The contents of a model file. The initial values are SentencePiece's defaults for absent fields.
struct SentencePieceModel {
  std::vector<Piece> pieces;
  PieceModel model = PieceModel::unigram;
  bool byte_fallback = false;
  bool spaces_behind_words = false;
  std::string unknown = "<unk>", bos = "<s>", eos = "</s>", padding = "<pad>";
  std::string normalization;  // its name: identity, nmt_nfkc, ...
  // The character map (charsmap.h) that a text goes through first. Empty: none, which is the
  // identity normalization.
  std::string character_map;
  bool has_output_character_map = false;
  bool add_dummy_prefix = true;  // put a space in front of the text
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;  // spaces become U+2581
};

// Serialises unigram data that came from another file. Tokens that are found before SentencePiece
// sees the text (tokenizer_config.json lists them) become unused pieces.
std::string build_sentencepiece(const TokenizerData& data);
// Error(input) naming `path` and the byte for bytes that are not such a message. At most 2^24
// pieces. Every piece has text.
SentencePieceModel parse_sentencepiece(std::string_view bytes, const std::string& path);

}  // namespace espalier::text
