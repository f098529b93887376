// SPDX-License-Identifier: Apache-2.0
// Parses a tokenizer.model field by field. A setting that occurs twice has its last value, as
// Protocol Buffers require.
#include "text/sentencepiece_model.h"

#include "core/error.h"
#include "text/wire_reader.h"

namespace espalier::text {
namespace {

constexpr std::size_t kMaxPieces = std::size_t{1} << 24;

Piece read_piece(WireReader reader, std::size_t index, std::size_t offset,
                 const std::string& path) {
  Piece piece;
  WireField field;
  while (reader.next(field)) {
    if (field.number == 1) piece.text = reader.text(field, "a piece's text");
    if (field.number == 2) piece.score = reader.float32(field, "a piece's score");
    if (field.number == 3) {
      const std::int32_t type = reader.int32(field, "a piece's type");
      ESP_CHECK(type >= 1 && type <= 6, input, path, ": byte ", field.offset, ": piece ", index,
                " has type ", type, ", expected 1 to 6");
      piece.type = static_cast<TokenType>(type);
    }
  }
  ESP_CHECK(!piece.text.empty(), input, path, ": byte ", offset, ": piece ", index, " has no text");
  return piece;
}

void read_trainer(WireReader reader, const std::string& path, SentencePieceModel& model) {
  WireField field;
  while (reader.next(field)) {
    switch (field.number) {
      case 3: {
        const std::int32_t type = reader.int32(field, "model_type");
        ESP_CHECK(type >= 1 && type <= 4, input, path, ": byte ", field.offset, ": model_type is ",
                  type, ", expected 1 to 4");
        model.model = static_cast<PieceModel>(type);
        break;
      }
      case 24:
        model.spaces_behind_words = reader.boolean(field, "treat_whitespace_as_suffix");
        break;
      case 35:
        model.byte_fallback = reader.boolean(field, "byte_fallback");
        break;
      case 45:
        model.unknown = reader.text(field, "unk_piece");
        break;
      case 46:
        model.bos = reader.text(field, "bos_piece");
        break;
      case 47:
        model.eos = reader.text(field, "eos_piece");
        break;
      case 48:
        model.padding = reader.text(field, "pad_piece");
        break;
      default:
        break;
    }
  }
}

void read_normalizer(WireReader reader, SentencePieceModel& model) {
  WireField field;
  while (reader.next(field)) {
    switch (field.number) {
      case 1:
        model.normalization = reader.text(field, "the normalizer's name");
        break;
      case 2:
        model.character_map = reader.text(field, "precompiled_charsmap");
        break;
      case 3:
        model.add_dummy_prefix = reader.boolean(field, "add_dummy_prefix");
        break;
      case 4:
        model.remove_extra_whitespaces = reader.boolean(field, "remove_extra_whitespaces");
        break;
      case 5:
        model.escape_whitespaces = reader.boolean(field, "escape_whitespaces");
        break;
      default:
        break;
    }
  }
}

}  // namespace

SentencePieceModel parse_sentencepiece(std::string_view bytes, const std::string& path) {
  SentencePieceModel model;
  WireReader reader(bytes, path);
  WireField field;
  while (reader.next(field)) {
    switch (field.number) {
      case 1:
        ESP_CHECK(model.pieces.size() < kMaxPieces, input, path, ": byte ", field.offset,
                  ": more than ", kMaxPieces, " pieces");
        model.pieces.push_back(
            read_piece(reader.message(field, "a piece"), model.pieces.size(), field.offset, path));
        break;
      case 2:
        read_trainer(reader.message(field, "trainer_spec"), path, model);
        break;
      case 3:
        read_normalizer(reader.message(field, "normalizer_spec"), model);
        break;
      case 5: {
        SentencePieceModel output;
        read_normalizer(reader.message(field, "denormalizer_spec"), output);
        model.has_output_character_map = !output.character_map.empty();
        break;
      }
      default:
        break;
    }
  }
  ESP_CHECK(!model.pieces.empty(), input, path, ": there are no pieces in it");
  return model;
}

}  // namespace espalier::text
