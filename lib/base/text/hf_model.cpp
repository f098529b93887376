// SPDX-License-Identifier: Apache-2.0
// tokenizer.model (BPE or unigram) -> TokenizerData, with the tokens that added_tokens.json and
// tokenizer_config.json add.
//
// As in libsentencepiece, user-defined pieces are searched for after spaces have become U+2581,
// longest first. They never merge with their surroundings. Added tokens of the other files are
// searched for in the original text.
#include <algorithm>
#include <map>

#include "core/error.h"
#include "text/hf_files.h"
#include "text/sentencepiece_model.h"
#include "text/token_table.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

const char* name_of(PieceModel model) {
  switch (model) {
    case PieceModel::unigram:
      return "unigram";
    case PieceModel::bpe:
      return "BPE";
    case PieceModel::word:
      return "word";
    case PieceModel::character:
      return "character";
  }
  return "unknown";
}

void require_supported(const SentencePieceModel& model, const std::string& path) {
  const bool unigram = model.model == PieceModel::unigram;
  ESP_CHECK(unigram || model.model == PieceModel::bpe, unsupported, path, " is a ",
            name_of(model.model), " model; supported are BPE and unigram");
  ESP_CHECK(unigram || model.character_map.empty(), unsupported, path, ": its normalization",
            model.normalization.empty() ? "" : " '" + model.normalization + "'",
            " maps characters, which is not supported for BPE; supported is identity");
  ESP_CHECK(!model.has_output_character_map, unsupported, path,
            ": its denormalizer maps characters, which is not supported");
  ESP_CHECK(unigram || !model.remove_extra_whitespaces, unsupported, path,
            ": remove_extra_whitespaces is true, which is not supported for BPE");
  ESP_CHECK(model.escape_whitespaces, unsupported, path,
            ": escape_whitespaces is false, which is not supported");
  ESP_CHECK(!model.spaces_behind_words, unsupported, path,
            ": treat_whitespace_as_suffix is true, which is not supported");
  ESP_CHECK(unigram || model.byte_fallback, unsupported, path,
            ": byte_fallback is false; SPM vocabularies without it are not supported");
  const bool has_bytes =
      std::any_of(model.pieces.begin(), model.pieces.end(),
                  [](const Piece& piece) { return piece.type == TokenType::byte; });
  ESP_CHECK(!unigram || has_bytes == model.byte_fallback, input, path, ": byte_fallback is ",
            model.byte_fallback ? "true" : "false", ", but there are ", has_bytes ? "" : "no ",
            "byte pieces");
}

void take_pieces(SentencePieceModel& model, const std::string& path, TokenizerData& data) {
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    Piece& piece = model.pieces[i];
    const auto id = static_cast<std::int32_t>(i);
    ESP_CHECK(piece.type != TokenType::unused || data.kind == TokenizerKind::unigram, unsupported,
              path, ": piece ", i, " (", shown(piece.text),
              ") is of type unused, which is not supported");
    if (piece.type == TokenType::user_defined)
      data.rules.push_back({.id = id, .normalized = true, .bare = true});
    if (piece.type == TokenType::unknown) {
      ESP_CHECK(!data.unk, input, path, ": pieces ", *data.unk, " and ", i,
                " are both of type unknown");
      data.unk = id;
    }
    if (piece.type == TokenType::control && piece.text == model.bos) data.bos = id;
    if (piece.type == TokenType::control && piece.text == model.eos) data.eos = id;
    if (piece.type == TokenType::control && piece.text == model.padding) data.pad = id;
    data.tokens.push_back(std::move(piece.text));
    data.scores.push_back(piece.score);
    data.types.push_back(piece.type);
  }
}

void add_tokens(const HfFiles& files, TokenizerData& data) {
  const std::map<std::int64_t, AddedToken> added = read_added_tokens(files);
  const std::size_t n_pieces = data.tokens.size();
  TokenTable table(data, n_pieces + added.size());
  for (const auto& [id, token] : added) {
    ESP_CHECK(!token.content.empty(), input, token.where, " has no text");
    const std::size_t index = table.add(id, token.content, token.where);
    TokenType& type = data.types[index];
    const bool new_token = index >= n_pieces;
    ESP_CHECK(new_token || type != TokenType::byte, unsupported, token.where, ": ",
              shown(token.content), " is a byte of tokenizer.model");
    if (type == TokenType::unknown || (type == TokenType::control && !new_token)) continue;
    const bool piece_found_anyway =
        type == TokenType::user_defined && !token.special && !token.lstrip && !token.rstrip;
    if (piece_found_anyway) continue;
    std::erase_if(data.rules, [&](const AddedRule& rule) {
      return rule.id == static_cast<std::int32_t>(index);
    });
    type = token.special ? TokenType::control : TokenType::user_defined;
    if (token.lstrip || token.rstrip)
      data.rules.push_back(
          {.id = static_cast<std::int32_t>(index), .lstrip = token.lstrip, .rstrip = token.rstrip});
  }
  std::sort(data.rules.begin(), data.rules.end(),
            [](const AddedRule& a, const AddedRule& b) { return a.id < b.id; });
  table.fill_gaps();
  data.scores.resize(data.tokens.size(), 0.0f);
}

}  // namespace

TokenizerData parse_hf_model(const HfFiles& files) {
  const std::string path = files.directory + "/tokenizer.model";
  SentencePieceModel model = parse_sentencepiece(files.tokenizer_model, path);
  require_supported(model, path);
  TokenizerData data;
  data.kind = model.model == PieceModel::unigram ? TokenizerKind::unigram : TokenizerKind::spm;
  data.pre = "default";
  data.remove_extra_spaces = data.kind == TokenizerKind::unigram && model.remove_extra_whitespaces;
  data.charsmap = std::move(model.character_map);
  data.add_space_prefix = model.add_dummy_prefix;
  take_pieces(model, path, data);
  add_tokens(files, data);
  read_config(files, nullptr, {.named = {}, .add_bos = true}, data);
  apply_extra(files, data);
  check_tokenizer(data, path);
  return data;
}

}  // namespace espalier::text
