// SPDX-License-Identifier: Apache-2.0
// Hand-broken tokenizer.model files: each must be refused with a message that names the file and
// the place, without large allocations.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>

#include "core/error.h"
#include "text/fixtures.h"
#include "text/sentencepiece_model.h"
#include "text/vocabulary.h"
#include "text/wire_reader.h"

namespace espalier::text {
namespace {

using core::ErrorKind;

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7F) | 0x80));
  return out + static_cast<char>(value);
}
std::string key(std::uint64_t number, unsigned type) { return varint(number << 3 | type); }
std::string number(std::uint64_t field, std::uint64_t value) {
  return key(field, 0) + varint(value);
}
std::string bytes(std::uint64_t field, const std::string& content) {
  return key(field, 2) + varint(content.size()) + content;
}
std::string fixed(std::uint64_t field, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  std::string out = key(field, 5);
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(bits >> (8 * i)));
  return out;
}
std::string piece(const std::string& text, float score, unsigned type) {
  return bytes(1, bytes(1, text) + fixed(2, score) + number(3, type));
}

std::string bytes_pieces() {
  std::string out = piece("<unk>", 0.0f, 2);
  for (int b = 0; b < 256; ++b) out += piece(byte_token(b), 0.0f, 6);
  return out;
}
std::string settings(unsigned model = 2, unsigned fallback = 1) {
  return bytes(2, number(3, model) + number(35, fallback)) +
         bytes(3, bytes(1, "identity") + number(4, 0));
}
std::string pieces() { return piece("<unk>", 0.0f, 2) + piece("a", -1.0f, 1); }
std::string little(std::uint32_t value) {
  std::string out;
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}
std::string unigram(const std::string& map, unsigned fallback = 0) {
  return bytes(2, number(3, 1) + number(35, fallback)) + bytes(3, bytes(2, map));
}
std::string good() {
  return bytes_pieces() + piece("a", -1.0f, 1) + piece("aa", -2.0f, 1) + settings();
}

struct BrokenModel {
  const char* name;
  std::string content;
  ErrorKind kind;
  const char* place;
};

std::vector<BrokenModel> broken_models() {
  const auto in = ErrorKind::input, un = ErrorKind::unsupported;
  const std::string ten(9, '\xFF');
  const std::string real = core::read_text_file(golden_path("text_model-llama/tokenizer.model"));
  return {
      {"empty", "", in, "the file is empty"},
      {"text", "{\"model\": 1}", in, "byte 0"},
      {"zeros", std::string(1 << 20, '\0'), in, "field number 0"},
      {"truncated", real.substr(0, real.size() / 2), in, "are left"},
      {"last_byte_missing", good().substr(0, good().size() - 1), in, "are left"},
      {"length_beyond_end", key(1, 2) + varint(0xFFFFFFFFu) + "abc", in,
       "4294967295 bytes, but 3 are left"},
      {"length_of_64_bits",
       key(1, 2) + ten +
           "\x01"
           "abc",
       in, "18446744073709551615 bytes, but 3 are left"},
      {"number_of_65_bits", key(1, 2) + ten + "\x02", in, "more than 64 bits"},
      {"number_without_end", key(1, 0) + std::string(1 << 16, '\x80'), in, "more than 64 bits"},
      {"number_cut", key(1, 0) + std::string(3, '\x80'), in, "ends inside"},
      {"key_cut", good() + "\x80", in, "ends inside the key"},
      {"fixed_cut", key(9, 1) + "1234567", in, "8 bytes, but 7 are left"},
      {"field_number_too_large", varint(std::uint64_t{1} << 40), in, "does not exist"},
      {"group", key(7, 3) + good(), in, "wire type 3"},
      {"wire_type_7", key(7, 7) + good(), in, "wire type 7"},
      {"piece_is_a_number", number(1, 5) + good(), in, "a piece is of wire type 0"},
      {"piece_longer_than_its_message", bytes(1, key(1, 2) + varint(100) + "abc") + good(), in,
       "100 bytes, but 3 are left"},
      {"piece_without_text", bytes(1, fixed(2, 1.0f)) + good(), in, "has no text"},
      {"empty_pieces", std::string("\x0A\0", 2) + good(), in, "has no text"},
      {"piece_of_type_9", good() + piece("b", 0.0f, 9), in, "type 9"},
      {"piece_type_beyond_32_bits",
       good() + bytes(1, bytes(1, "b") + number(3, std::uint64_t{1} << 40)), in, "outside 32 bits"},
      {"score_is_a_number", good() + bytes(1, bytes(1, "b") + number(2, 1)), in,
       "score is of wire type 0"},
      {"score_not_finite", good() + piece("b", std::nanf(""), 1), in, "not finite"},
      {"text_not_utf8", good() + piece("b\xFF", 0.0f, 1), in, "UTF-8"},
      {"piece_twice", good() + piece("aa", -3.0f, 1), in, "are the same"},
      {"two_unknown_pieces", good() + piece("<unk2>", 0.0f, 2), in, "of type unknown"},
      {"unused_piece", good() + piece("b", 0.0f, 5), un, "type unused"},
      {"byte_misnamed", good() + piece("byte", 0.0f, 6), in, "expected <0x00>"},
      {"bytes_missing", piece("<unk>", 0.0f, 2) + piece("a", 0.0f, 1) + settings(), un, "<0x00>"},
      {"model_type_9", bytes_pieces() + settings(9), in, "model_type is 9"},
      {"model_type_is_text", bytes_pieces() + bytes(2, bytes(3, "bpe")), in,
       "model_type is of wire type 2"},
      {"no_settings", bytes_pieces(), in,
       "byte_fallback is false, but there are byte pieces"},  // unigram is SentencePiece's default
      {"characters", bytes_pieces() + settings(4), un, "character"},
      {"unigram_without_unknown", piece("a", -1.0f, 1) + unigram(""), in,
       "no token of type unknown"},
      {"unigram_without_pieces", bytes_pieces() + unigram("", 1), in, "no normal token"},
      {"unigram_of_some_bytes",
       piece("<unk>", 0.0f, 2) + piece("a", -1.0f, 1) + piece("<0x41>", 0.0f, 6) + unigram("", 1),
       un, "<0x00>"},
      {"unigram_fallback_without_bytes", pieces() + unigram("", 1), in, "no byte pieces"},
      {"map_of_4_bytes", pieces() + unigram(little(0)), in, "4 bytes"},
      {"map_trie_beyond_end", pieces() + unigram(little(0xFFFFFFFC) + "12345"), in,
       "4294967292 bytes"},
      {"map_trie_odd", pieces() + unigram(little(3) + std::string(8, '\0')), in, "3 bytes"},
      {"map_without_replacements", pieces() + unigram(little(4) + little(0)), in,
       "expected a multiple"},
      {"map_replacement_without_end", pieces() + unigram(little(4) + little(0) + "abc"), in,
       "no end"},
      {"map_replacement_too_long",
       pieces() + unigram(little(4) + little(0) + std::string(2000, 'a') + '\0'), in, "2000 bytes"},
      {"nfkc", bytes_pieces() + settings() + bytes(3, bytes(1, "nmt_nfkc") + bytes(2, "map")), un,
       "'nmt_nfkc'"},
      {"no_byte_fallback", core::read_text_file(golden_path("text_model-plain/tokenizer.model")),
       un, "byte_fallback"},
      {"words", bytes_pieces() + settings(3), un, "word"},
      {"fallback_off", bytes_pieces() + settings(2, 0), un, "byte_fallback"},
      {"spaces_removed", bytes_pieces() + settings() + bytes(3, number(4, 1)), un,
       "remove_extra_whitespaces"},
      {"spaces_kept", bytes_pieces() + settings() + bytes(3, number(5, 0)), un,
       "escape_whitespaces"},
      {"spaces_behind", bytes_pieces() + settings() + bytes(2, number(24, 1)), un,
       "treat_whitespace_as_suffix"},
      {"output_mapped", bytes_pieces() + settings() + bytes(5, bytes(2, "map")), un,
       "denormalizer"},
  };
}

TokenizerData read(const std::string& content) {
  const support::TempDir directory;
  core::write_text_file(directory.file("tokenizer.model"), content);
  return tokenizer_from_hf(directory.path());
}

TEST(BrokenModel, IsRefused) {
  ASSERT_NO_THROW(read(good()));
  const std::vector<BrokenModel> cases = broken_models();
  EXPECT_EQ(cases.size(), 51u);
  for (const BrokenModel& broken : cases) {
    try {
      read(broken.content);
      ADD_FAILURE() << broken.name << " was read";
    } catch (const core::Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(broken.kind))
          << broken.name << ": " << message;
      EXPECT_NE(message.find("/tokenizer.model"), std::string::npos)
          << broken.name << ": " << message;
      EXPECT_NE(message.find(broken.place), std::string::npos) << broken.name << ": " << message;
      EXPECT_LT(message.size(), 1000u) << broken.name;
    }
  }
}

// Cut anywhere, a file is refused or (between two fields) read; it never does anything else.
TEST(BrokenModel, CutAnywhere) {
  const std::string whole = good();
  int refused = 0;
  for (std::size_t n = 0; n < whole.size(); n += 7) {
    try {
      parse_sentencepiece(std::string_view(whole).substr(0, n), "cut");
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input) << n;
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(BrokenModel, UnknownFieldsAreSkipped) {
  const std::string unknown =
      number(100, 7) + key(101, 1) + "12345678" + bytes(102, "more") + key(103, 5) + "1234";
  const TokenizerData plain = read(good()),
                      more = read(unknown + good() + bytes(2, unknown) + unknown +
                                  bytes(1, unknown + bytes(1, "b")));
  ASSERT_EQ(more.tokens.size(), plain.tokens.size() + 1);
  EXPECT_EQ(more.tokens.back(), "b");
  EXPECT_EQ(more.types.back(), TokenType::normal);
}

TEST(BrokenModel, FilesBesideIt) {
  const std::vector<std::tuple<const char*, const char*, const char*, ErrorKind, const char*>>
      cases = {
          {"wild_id", "added_tokens.json", R"({"<x>": 4000000000})", ErrorKind::input,
           "outside the"},
          {"negative_id", "added_tokens.json", R"({"<x>": -1})", ErrorKind::input, "outside the"},
          {"id_is_text", "added_tokens.json", R"({"<x>": "7"})", ErrorKind::input,
           "expected an integer"},
          {"other_piece", "added_tokens.json", R"({"<x>": 257})", ErrorKind::input,
           "both have id 257"},
          {"list", "added_tokens.json", "[]", ErrorKind::input, "expected an object"},
          {"same_piece_again", "added_tokens.json", R"({"aa": 259})", ErrorKind::input,
           "are the same"},
          {"id_is_no_number", "tokenizer_config.json",
           R"({"added_tokens_decoder": {"12x": {"content": "<x>"}}})", ErrorKind::input, "12x"},
          {"no_content", "tokenizer_config.json", R"({"added_tokens_decoder": {"259": {}}})",
           ErrorKind::input, "content"},
          {"empty_content", "tokenizer_config.json",
           R"({"added_tokens_decoder": {"259": {"content": ""}}})", ErrorKind::input, "no text"},
          {"single_word", "tokenizer_config.json",
           R"({"added_tokens_decoder": {"259": {"content": "<x>", "single_word": true}}})",
           ErrorKind::unsupported, "single_word"},
          {"eos_unknown", "tokenizer_config.json", R"({"eos_token": "<nowhere>"})",
           ErrorKind::input, "'<nowhere>'"},
      };
  EXPECT_EQ(cases.size(), 11u);
  for (const auto& [name, file, text, kind, place] : cases) {
    const support::TempDir directory;
    core::write_text_file(directory.file("tokenizer.model"), good());
    core::write_text_file(directory.file(file), text);
    try {
      tokenizer_from_hf(directory.path());
      ADD_FAILURE() << name << " was read";
    } catch (const core::Error& error) {
      EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind))
          << name << ": " << error.what();
      EXPECT_NE(std::string(error.what()).find(place), std::string::npos)
          << name << ": " << error.what();
    }
  }
}

}  // namespace
}  // namespace espalier::text
