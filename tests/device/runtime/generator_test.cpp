// SPDX-License-Identifier: Apache-2.0
// The loop that writes text: what ends it, what it keeps of the last text, and that a draft changes
// nothing but the number of passes.
#include "runtime/generator.h"

#include <gtest/gtest.h>

#include "format/gguf.h"
#include "kernels/linear.h"
#include "runtime/expect_error.h"
#include "runtime/plain_model.h"
#include "support/rewrite_gguf.h"
#include "support/temp_dir.h"

namespace espalier::runtime {
namespace {

using End = Generated::End;

const support::PlainSizes kSizes{.vocab = 300,
                                 .hidden = 64,
                                 .head_dim = 16,
                                 .positions = 80,
                                 .layers = {{2, 2, 96}, {2, 2, 96}}};

Generated write(Session& session, const std::vector<std::int32_t>& prompt,
                const GenerateOptions& options, const SamplerOptions& sampling = {},
                const Show& show = {}, Session* draft = nullptr) {
  Sampler sampler(sampling);
  TokenReader reader(session);
  std::optional<TokenReader> draft_reader;
  if (draft != nullptr) draft_reader.emplace(*draft);
  return Generator(reader, draft_reader ? &*draft_reader : nullptr)
      .run(prompt, sampler, options, show);
}

// The last layer's output made constant and the embedding of one token along it: the model always
// says that token.
support::PlainModel always(std::size_t token) {
  support::PlainModel model = support::random_model({.vocab = 300, .positions = 40}, 5);
  std::vector<float>& table = model.tensor(arch::Role::token_embd);
  for (float& v : model.tensor(arch::Role::output_norm)) v = 1;
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = i / 72 == token ? 4.0f : 1.0f;
  for (int layer : {0, 1}) {
    for (float& v : model.tensor(arch::Role::attn_output, layer)) v = 0;
    for (float& v : model.tensor(arch::Role::ffn_down, layer)) v = 0;
  }
  return model;
}

TEST(Generator, StopsAtLimitEndTokenAndFullContext) {
  support::TempDir dir;
  support::PlainModel model = support::random_model(kSizes, 5);
  support::write_gguf(model, dir.file("m.gguf"));
  Session session(dir.file("m.gguf"), {.threads = 1});
  EXPECT_EQ(session.end_tokens(), (std::set<std::int32_t>{0, 2}));
  std::string shown;
  const Generated ten = write(session, {5, 6, 7}, {.tokens = 10}, {},
                              [&](std::string_view piece) { return !(shown += piece).empty(); });
  EXPECT_LE(ten.tokens.size(), 10u);
  EXPECT_EQ(shown, ten.text);
  EXPECT_EQ(ten.text, session.tokenizer().decode(ten.tokens));
  EXPECT_EQ(write(session, {5, 6, 7}, {.tokens = 10}).tokens,
            ten.tokens);  // from an empty context again
  EXPECT_TRUE(write(session, {5, 6, 7}, {.tokens = 0}).tokens.empty());

  support::PlainModel ends = always(2), sevens = always(7);
  support::write_gguf(ends, dir.file("e.gguf"));
  Session ending(dir.file("e.gguf"), {.threads = 1});
  const Generated none = write(ending, {5, 6, 7}, {.tokens = 10});
  EXPECT_EQ(none.end, End::end_token);
  EXPECT_TRUE(none.tokens.empty());

  support::write_gguf(sevens, dir.file("f.gguf"));
  Session full(dir.file("f.gguf"), {.threads = 1});
  const Generated filled = write(full, {5, 6, 7}, {.tokens = 1000});
  EXPECT_EQ(filled.end, End::context);
  EXPECT_EQ(filled.tokens.size(),
            38u);  // 40 positions: 3 of the prompt, 37 read, one more predicted
  EXPECT_EQ(filled.tokens, std::vector<std::int32_t>(38, 7));
  EXPECT_EQ(write(full, {5, 6, 7}, {.tokens = 4}).end, End::limit);
  const Generated unwanted =
      write(full, {5, 6, 7}, {.tokens = 9}, {}, [](std::string_view) { return false; });
  EXPECT_EQ(unwanted.end, End::caller);
  EXPECT_EQ(unwanted.tokens.size(), 1u);
  support::expect_error([&] { write(full, std::vector<std::int32_t>(41, 7), {.tokens = 4}); },
                        core::ErrorKind::usage, {"41 tokens", "--context 40"});
  support::expect_error([&] { write(full, std::vector<std::int32_t>(), {.tokens = 4}); },
                        core::ErrorKind::usage, {"no tokens"});
}

// The ends of stock readers: by key, and by name whatever the type.
TEST(Generator, TheFileNamesFurtherEnds) {
  support::TempDir dir;
  support::PlainModel sevens = always(7);
  support::write_gguf(sevens, dir.file("m.gguf"));
  const auto with = [&](const std::string& key, format::GgufValue value) {
    return support::rewrite_gguf(dir.file("m.gguf"), dir.file("x.gguf"), {{key, std::move(value)}})
        .front();
  };
  for (const char* name : {"eot", "eom", "fim_pad", "fim_rep", "fim_sep"}) {
    Session session(
        with(std::string("tokenizer.ggml.") + name + "_token_id", format::GgufValue::u32(7)),
        {.threads = 1});
    EXPECT_EQ(session.end_tokens(), (std::set<std::int32_t>{0, 2, 7})) << name;
    const Generated none = write(session, {5, 6}, {.tokens = 10});
    EXPECT_EQ(none.end, End::end_token) << name;
    EXPECT_TRUE(none.tokens.empty()) << name;
  }
  // Another special token is none.
  Session other(with("tokenizer.ggml.mask_token_id", format::GgufValue::u32(7)), {.threads = 1});
  EXPECT_EQ(write(other, {5, 6}, {.tokens = 10}).end, End::limit);
  support::expect_error(
      [&] {
        Session session(with("tokenizer.ggml.eot_token_id", format::GgufValue::u32(300)),
                        {.threads = 1});
        session.end_tokens();
      },
      core::ErrorKind::input, {"x.gguf", "eot_token_id is 300", "300 tokens"});

  format::GgufHeader header = format::GgufHeader::read(core::FileReader(dir.file("m.gguf")));
  std::vector<std::string> tokens = header.array("tokenizer.ggml.tokens").strings;
  const auto ends_with = [&](const std::vector<std::string>& names) {
    for (std::size_t i = 0; i < names.size(); ++i) tokens[290 + i] = names[i];
    Session session(with("tokenizer.ggml.tokens", format::GgufValue::strings(tokens)),
                    {.threads = 1});
    return session.end_tokens();
  };
  EXPECT_EQ(ends_with({"<end_of_turn>", "[EOS]", "<|end|>", "<|END|>"}),
            (std::set<std::int32_t>{0, 2, 290, 291, 292}));
  // A vocabulary whose turns end otherwise.
  EXPECT_EQ(ends_with({"<|return|>", "<|call|>", "<|end|>", "<|other|>"}),
            (std::set<std::int32_t>{0, 2, 290, 291}));
}

TEST(Generator, StopStringIsNotPartOfTheText) {
  support::TempDir dir;
  support::PlainModel model = always(3 + 64);  // byte 'a' of the byte tokenizer: '!' is its first
  support::write_gguf(model, dir.file("m.gguf"));
  Session session(dir.file("m.gguf"), {.threads = 1});
  const std::string letter = session.tokenizer().piece(3 + 64);
  ASSERT_EQ(letter.size(), 1u);
  std::string shown;
  const Generated out =
      write(session, {5}, {.tokens = 30, .stops = {"zz", letter + letter + letter}}, {},
            [&](std::string_view piece) { return !(shown += piece).empty(); });
  EXPECT_EQ(out.end, End::stop_string);
  EXPECT_EQ(out.text, "");
  EXPECT_EQ(shown, "");
  EXPECT_EQ(out.tokens.size(), 3u);
}

TEST(Generator, KeepsWhatTheNextTextBeginsWith) {
  support::TempDir dir;
  support::PlainModel model = support::random_model(kSizes, 5);
  support::write_gguf(model, dir.file("m.gguf"));
  Session session(dir.file("m.gguf"), {.threads = 1, .kv = SessionOptions::KvType::f32}),
      fresh(dir.file("m.gguf"), {.threads = 1, .kv = SessionOptions::KvType::f32});
  TokenReader reader(session);
  const auto tokens = support::random_tokens(60, 300, 8);
  std::vector<std::int32_t> other(tokens.begin(), tokens.begin() + 30);
  for (int i = 0; i < 15; ++i) other.push_back(9);
  reader.read_all(tokens);
  for (const auto& text :
       {other, tokens, tokens, std::vector<std::int32_t>(tokens.begin(), tokens.begin() + 10),
        std::vector<std::int32_t>{4}}) {
    const auto found = reader.read_all(text);
    EXPECT_EQ(session.position(), static_cast<std::int64_t>(text.size()));
    fresh.reset();
    const auto expected = fresh.prefill(text);
    EXPECT_LT(support::relative_difference({found.begin(), found.end()},
                                           {expected.begin(), expected.end()}),
              2e-6);
  }
}

class Drafted : public testing::Test {
 protected:
  Drafted() {
    model_ = support::random_model(kSizes, 31);
    student_ = model_;
    support::write_gguf(model_, path());
    support::PlainModel eight = model_;
    support::write_gguf(eight, dir_.file("q8.gguf"), format::FormatId::q8_0);
    support::write_gguf(student_, student(), format::FormatId::q4_0);  // the same, a little wrong
  }
  std::string path() const { return dir_.file("m.gguf"); }
  std::string student() const { return dir_.file("s.gguf"); }
  support::TempDir dir_;
  support::PlainModel model_, student_;
};

TEST_F(Drafted, GreedyTextIsTheSame) {
  std::int64_t accepted = 0, judged = 0;
  int isas = 0;
  for (const std::string_view isa : kernels::isa_names()) {
    if (!kernels::isa_runnable(isa)) continue;
    ++isas;
    Session whole(path(), {.threads = 2, .isa = std::string(isa)}),
        eight(dir_.file("q8.gguf"), {.threads = 2, .isa = std::string(isa)}),
        draft(student(), {.threads = 1, .isa = std::string(isa)});
    for (const std::int64_t n : {1, 2, 4, 7})
      for (const SamplerOptions& sampling :
           {SamplerOptions{}, SamplerOptions{.repeat_penalty = 1.5, .repeat_window = 8}})
        for (const auto& prompt :
             {support::random_tokens(5, 300, 1), support::random_tokens(20, 300, 2),
              support::random_tokens(1, 300, 3)}) {
          Session& session = n == 2 ? whole : eight;
          const Generated alone = write(session, prompt, {.tokens = 100}, sampling);
          const Generated with =
              write(session, prompt, {.tokens = 100, .draft_tokens = n}, sampling, {}, &draft);
          EXPECT_EQ(with.tokens, alone.tokens)
              << isa << ", " << n << " at a time, prompt of " << prompt.size();
          EXPECT_EQ(with.text, alone.text);
          EXPECT_EQ(with.end, alone.end);
          accepted += with.accepted;
          judged += with.judged;
        }
  }
  EXPECT_GE(isas, 1);
  EXPECT_GT(accepted, judged / 10);  // neither all nor none: both branches ran
  EXPECT_LT(accepted, judged);
}

TEST_F(Drafted, AnEqualModelIsAlwaysRight) {
  Session session(path(), {.threads = 1}), draft(path(), {.threads = 1});
  const std::vector<std::int32_t> prompt = support::random_tokens(5, 300, 1);
  const Generated out = write(session, prompt, {.tokens = 31, .draft_tokens = 5}, {}, {}, &draft);
  ASSERT_EQ(out.end, End::limit);
  EXPECT_EQ(out.passes, 5);  // one token, then six a pass
  EXPECT_EQ(out.accepted, out.judged);
  EXPECT_EQ(out.acceptance_rate(), 1.0);
  EXPECT_FALSE(write(session, prompt, {.tokens = 5}).acceptance_rate().has_value());
}

TEST_F(Drafted, LimitsStopsAndShortDrafts) {
  Session session(path(), {.threads = 1}), draft(student(), {.threads = 1, .context = 16});
  const std::vector<std::int32_t> prompt = support::random_tokens(6, 300, 1),
                                  longer = support::random_tokens(30, 300, 1);
  for (std::int64_t limit = 0; limit < 12; ++limit)
    EXPECT_EQ(write(session, prompt, {.tokens = limit, .draft_tokens = 3}, {}, {}, &draft).tokens,
              write(session, prompt, {.tokens = limit}).tokens)
        << limit;
  EXPECT_EQ(write(session, prompt, {.tokens = 40}, {}, {}, &draft).tokens,
            write(session, prompt, {.tokens = 40}).tokens);  // past the draft's context
  EXPECT_EQ(write(session, longer, {.tokens = 9}, {}, {}, &draft).tokens,
            write(session, longer, {.tokens = 9}).tokens);
  const Generated alone = write(session, prompt, {.tokens = 30});
  ASSERT_GT(alone.tokens.size(), 2u);
  const GenerateOptions stopping{
      .tokens = 30,
      .stops = {session.tokenizer().piece(alone.tokens[alone.tokens.size() / 2])},
      .draft_tokens = 5};
  const Generated plain = write(session, prompt, stopping),
                  drafted = write(session, prompt, stopping, {}, {}, &draft);
  EXPECT_EQ(plain.end, End::stop_string);
  EXPECT_EQ(drafted.end, End::stop_string);
  EXPECT_EQ(drafted.text, plain.text);
  EXPECT_EQ(drafted.tokens, plain.tokens);
}

TEST_F(Drafted, SeedDecidesAndOtherVocabulariesAreRefused) {
  Session session(path(), {.threads = 2}), draft(student(), {.threads = 2});
  const std::vector<std::int32_t> prompt = support::random_tokens(5, 300, 1);
  const SamplerOptions one{.temperature = 1, .top_p = 0.95, .seed = 1},
      two{.temperature = 1, .top_p = 0.95, .seed = 2};
  const GenerateOptions options{.tokens = 25, .draft_tokens = 3};
  EXPECT_EQ(write(session, prompt, options, one, {}, &draft).tokens,
            write(session, prompt, options, one, {}, &draft).tokens);
  EXPECT_NE(write(session, prompt, options, one, {}, &draft).tokens,
            write(session, prompt, options, two, {}, &draft).tokens);

  support::PlainModel other = support::random_model({.vocab = 310}, 5);
  support::write_gguf(other, dir_.file("o.gguf"));
  Session stranger(dir_.file("o.gguf"), {.threads = 1});
  TokenReader reader(session), strange(stranger);
  support::expect_error([&] { Generator(reader, &strange); }, core::ErrorKind::input,
                        {"vocabulary", "--draft"});
}

}  // namespace
}  // namespace espalier::runtime
