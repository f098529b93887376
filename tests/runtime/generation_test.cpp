// What the program adds to a session: whole characters on the output, end tokens, the loop.
#include "generation.h"

#include <gtest/gtest.h>

#include "runtime/plain_model.h"
#include "support/temp_dir.h"

namespace espalier::tool {
namespace {

TEST(Utf8Stream, NeverCutsACharacter) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";  // one character of each length
  for (std::size_t step = 1; step <= text.size(); ++step) {
    Utf8Stream stream;
    std::string all;
    for (std::size_t at = 0; at < text.size(); at += step) {
      const std::string out = stream.push(text.substr(at, step));
      if (!out.empty()) {
        EXPECT_NE(static_cast<unsigned char>(out.front()) & 0xC0, 0x80) << "starts inside a character, steps of " << step;
      }
      all += out;
    }
    EXPECT_EQ(all, text);
    EXPECT_EQ(stream.finish(), "");
  }
}

TEST(Utf8Stream, BrokenBytesPassThrough) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("\xFFx"), "\xFFx");
  EXPECT_EQ(stream.push("\xE2\x82"), "");
  EXPECT_EQ(stream.push("x"), "\xE2\x82x");
  EXPECT_EQ(stream.push("\xF0\x9F"), "");
  EXPECT_EQ(stream.finish(), "\xF0\x9F");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.push("\x80\x80\x80\x80"), "\x80\x80\x80\x80");
}

TEST(Generate, StopsAtLimitEndTokenAndFullContext) {
  support::TempDir dir;
  support::PlainModel model = support::random_model({.vocab = 300, .positions = 40}, 5);
  support::write_gguf(model, dir.file("m.gguf"));
  runtime::Session session(dir.file("m.gguf"), {.threads = 1});
  EXPECT_EQ(end_tokens(session.tokenizer()), (std::set<std::int32_t>{0, 2}));
  runtime::Sampler greedy({});
  std::string shown;
  const Generated ten = generate(session, greedy, {5, 6, 7}, 10, [&](std::string_view piece) { shown += piece; });
  EXPECT_LE(ten.tokens.size(), 10u);
  EXPECT_EQ(shown, ten.text);
  std::string pieces;
  for (const std::int32_t t : ten.tokens) pieces += session.tokenizer().piece(t);
  EXPECT_EQ(ten.text, pieces);

  // The last layer's output made constant and the embedding of token 2 along it: the model always ends.
  support::PlainModel ends = model;
  std::vector<float>& table = ends.tensor(arch::Role::token_embd);
  for (float& v : ends.tensor(arch::Role::output_norm)) v = 1;
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = i / 72 == 2 ? 4.0f : 1.0f;
  for (int layer : {0, 1}) {
    for (float& v : ends.tensor(arch::Role::attn_output, layer)) v = 0;
    for (float& v : ends.tensor(arch::Role::ffn_down, layer)) v = 0;
  }
  support::write_gguf(ends, dir.file("e.gguf"));
  runtime::Session ending(dir.file("e.gguf"), {.threads = 1});
  const Generated none = generate(ending, greedy, {5, 6, 7}, 10, {});
  EXPECT_TRUE(none.ended);
  EXPECT_TRUE(none.tokens.empty());

  for (float& v : table) v = 1;
  std::fill(table.begin() + 7 * 72, table.begin() + 8 * 72, 4.0f);
  support::write_gguf(ends, dir.file("f.gguf"));
  runtime::Session full(dir.file("f.gguf"), {.threads = 1});
  const Generated filled = generate(full, greedy, {5, 6, 7}, 1000, {});
  EXPECT_FALSE(filled.ended);
  EXPECT_EQ(filled.tokens.size(), 38u);  // 40 positions: 3 of the prompt, 37 read, one more predicted
  EXPECT_EQ(filled.tokens, std::vector<std::int32_t>(38, 7));
}

}  // namespace
}  // namespace espalier::tool
