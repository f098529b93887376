// SPDX-License-Identifier: Apache-2.0
// Grids against the formats' own decoders, rounding methods against each other, imatrix files and
// their refusals.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/rng.h"
#include "format/gguf.h"
#include "quant/gptq.h"
#include "quant/grid.h"
#include "quant/imatrix.h"
#include "quant/rounding.h"
#include "support/layer_sizes.h"
#include "support/refusal.h"
#include "support/temp_dir.h"

namespace espalier::quant {
namespace {

using format::FormatId;
using support::refusal;

constexpr FormatId kBlockFormats[] = {
    FormatId::q2_0, FormatId::q4_0,   FormatId::q4_1,   FormatId::q5_0, FormatId::q5_1,
    FormatId::q8_0, FormatId::q2_k,   FormatId::q3_k,   FormatId::q4_k, FormatId::q5_k,
    FormatId::q6_k, FormatId::iq4_nl, FormatId::iq4_xs, FormatId::mxfp4};

std::vector<float> random_matrix(std::int64_t n, std::uint64_t seed, double scale = 0.05) {
  core::Rng rng(seed);
  std::vector<float> out;
  for (std::int64_t i = 0; i < n; ++i)
    out.push_back(static_cast<float>(scale * rng.normal() * (rng.uniform() < 0.02 ? 5 : 1)));
  return out;
}

// Inputs that share a few strong directions, as activations do; channel sizes differ by two orders
// of magnitude.
TensorStatistics correlated(std::int64_t cols, std::uint64_t seed, std::int64_t tokens = 600) {
  core::Rng rng(seed, 1);
  const int factors = 12;
  std::vector<double> size, loading;
  for (std::int64_t c = 0; c < cols; ++c) size.push_back(std::exp(rng.normal()));
  for (std::int64_t i = 0; i < cols * factors; ++i) loading.push_back(rng.normal());
  std::vector<float> gram(static_cast<std::size_t>(cols * cols), 0.0f);
  std::vector<double> x(static_cast<std::size_t>(cols)), f(factors);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (double& v : f) v = rng.normal();
    for (std::int64_t c = 0; c < cols; ++c) {
      double v = 0.5 * rng.normal();
      for (int k = 0; k < factors; ++k)
        v +=
            loading[static_cast<std::size_t>(c * factors + k)] * f[static_cast<std::size_t>(k)] / 3;
      x[static_cast<std::size_t>(c)] = v * size[static_cast<std::size_t>(c)];
    }
    for (std::int64_t a = 0; a < cols; ++a)
      for (std::int64_t b = 0; b < cols; ++b)
        gram[static_cast<std::size_t>(a * cols + b)] +=
            static_cast<float>(x[static_cast<std::size_t>(a)] * x[static_cast<std::size_t>(b)]);
  }
  TensorStatistics out;
  out.tokens = static_cast<double>(tokens);
  for (std::int64_t c = 0; c < cols; ++c)
    out.sum_squares.push_back(static_cast<double>(gram[static_cast<std::size_t>(c * cols + c)]));
  out.gram = std::make_shared<const std::vector<float>>(std::move(gram));
  return out;
}

double error_of(const std::vector<float>& w, std::int64_t rows, std::int64_t cols, FormatId f,
                Rounding rounding, const TensorStatistics& s, core::ThreadPool& pool) {
  return output_error(
      w, decode_matrix(round_matrix(w, rows, cols, f, {rounding, &s}, pool), rows, cols, f), rows,
      cols, s);
}

TEST(Grid, EveryBlockFormatHasOneAndFloatsHaveNone) {
  int grids = 0;
  for (const format::QuantFormat& f : format::all_formats()) {
    EXPECT_EQ(grid_of(f.id) != nullptr, !f.is_float()) << f.name;
    if (const Grid* g = grid_of(f.id)) {
      EXPECT_EQ(g->block, f.block);
      EXPECT_LE(g->block / g->sub, kMaxSubBlocks);
      EXPECT_LE(g->sub, kMaxSub);
      ++grids;
    }
  }
  EXPECT_EQ(grids, 14);
  EXPECT_EQ(std::size(kBlockFormats), 14u);
}

// Any levels and any scales a sweep may choose decode to exactly the values it computed with.
TEST(Grid, PackedBytesDecodeToTheValuesOfTheSweep) {
  core::Rng rng(5);
  for (const FormatId f : kBlockFormats) {
    const Grid& grid = *grid_of(f);
    for (int round = 0; round < 40; ++round) {
      const std::vector<float> x = random_matrix(
          grid.block, 100 + static_cast<std::uint64_t>(round), round % 5 == 0 ? 30.0 : 0.03);
      const std::vector<float> weight(static_cast<std::size_t>(grid.block), 1.0f);
      GridBlock block;
      block.scale = block_scale(grid, x.data(), weight.data());
      std::vector<float> expected;
      for (int s = 0; s < grid.block / grid.sub; ++s) {
        SubScale candidates[kMaxCandidates];
        const int n =
            scale_candidates(grid, block.scale, x.data() + s * grid.sub, weight.data(), candidates);
        ASSERT_GE(n, 1);
        ASSERT_LE(n, kMaxCandidates);
        block.sub[s] = candidates[rng.below(static_cast<std::uint64_t>(n))];
        for (int i = 0; i < grid.sub; ++i) {
          const int level =
              grid.codebook ? grid.codebook->level(static_cast<int>(rng.below(16)))
                            : grid.low + static_cast<int>(rng.below(
                                             static_cast<std::uint64_t>(grid.high - grid.low + 1)));
          block.level[s * grid.sub + i] = static_cast<std::int8_t>(level);
          expected.push_back(grid_value(block.sub[s], level));
        }
      }
      std::vector<std::byte> bytes(static_cast<std::size_t>(format::info(f).block_bytes));
      pack_block(format::info(f), block, bytes.data());
      const std::vector<float> decoded = decode_matrix(bytes, 1, grid.block, f);
      for (int i = 0; i < grid.block; ++i)
        ASSERT_EQ(decoded[static_cast<std::size_t>(i)], expected[static_cast<std::size_t>(i)])
            << format::info(f).name << " " << i;
    }
  }
}

TEST(Grid, NearestLevelIsNearestAndClamped) {
  const Grid& grid = *grid_of(FormatId::q4_0);
  SubScale scale;
  scale.step = -0.5f;
  const float inverse = inverse_step(scale);
  EXPECT_EQ(nearest_level(grid, scale, inverse, 1.1f), -2);
  EXPECT_EQ(nearest_level(grid, scale, inverse, -1.3f), 3);
  EXPECT_EQ(nearest_level(grid, scale, inverse, 1e30f), -8);
  EXPECT_EQ(nearest_level(grid, scale, inverse, -1e30f), 7);
  EXPECT_EQ(nearest_level(grid, scale, inverse, std::nanf("")), -8);
  scale.step = 0;
  EXPECT_EQ(inverse_step(scale), 0.0f);
}

TEST(Rounding, NearestIsTheFormatsOwnEncoder) {
  core::ThreadPool pool(2);
  const std::vector<float> w = random_matrix(7 * 256, 1);
  int formats = 0;
  for (const format::QuantFormat& f : format::all_formats()) {
    std::vector<std::byte> expected(static_cast<std::size_t>(format::matrix_bytes(f.id, 7, 256)));
    f.encode(w.data(), nullptr, expected.data(), 7 * 256);
    EXPECT_EQ(round_matrix(w, 7, 256, f.id, {}, pool), expected) << f.name;
    ++formats;
  }
  EXPECT_EQ(formats, 17);
}

TEST(Rounding, OutputErrorIsThatOfTheOutputs) {
  const std::int64_t rows = 3, cols = 4;
  const std::vector<float> w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
                           q = {1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 13, 12};
  const float tokens[2][4] = {{1, -1, 2, 3}, {0.5f, 1, 1, -2}};
  std::vector<float> gram(16, 0.0f);
  double expected = 0;
  for (const auto& x : tokens) {
    for (int a = 0; a < 4; ++a)
      for (int b = 0; b < 4; ++b) gram[static_cast<std::size_t>(a * 4 + b)] += x[a] * x[b];
    for (int r = 0; r < rows; ++r) {
      double y = 0;
      for (int c = 0; c < cols; ++c)
        y += (w[static_cast<std::size_t>(r * cols + c)] -
              q[static_cast<std::size_t>(r * cols + c)]) *
             x[c];
      expected += y * y / 2;
    }
  }
  TensorStatistics s;
  s.tokens = 2;
  for (int c = 0; c < 4; ++c) s.sum_squares.push_back(gram[static_cast<std::size_t>(c * 5)]);
  TensorStatistics diagonal = s;
  s.gram = std::make_shared<const std::vector<float>>(gram);
  EXPECT_NEAR(output_error(w, q, rows, cols, s), expected, 1e-6 * expected);
  EXPECT_NEAR(output_error(w, q, rows, cols, diagonal), (13.0 * 1 + 1.25 * 1 + 5.0 * 4) / 2, 1e-5);
}

// On correlated inputs each method must pay: weighting by importance, then error feedback.
TEST(Rounding, GptqBeatsImatrixBeatsNearestOnCorrelatedInputs) {
  core::ThreadPool pool(2);
  const std::int64_t rows = 40, cols = 512;
  const std::vector<float> w = random_matrix(rows * cols, 2);
  const TensorStatistics s = correlated(cols, 3, 300);
  for (const FormatId f : kBlockFormats) {
    const double nearest = error_of(w, rows, cols, f, Rounding::nearest, s, pool),
                 imatrix = error_of(w, rows, cols, f, Rounding::imatrix, s, pool),
                 gptq = error_of(w, rows, cols, f, Rounding::gptq, s, pool);
    EXPECT_LE(imatrix, 1.01 * nearest) << format::info(f).name;
    EXPECT_LT(gptq, 0.6 * imatrix) << format::info(f).name;
  }
}

TEST(Rounding, ThreadsDoNotChangeTheBytes) {
  const std::int64_t rows = 101, cols = 256;
  const std::vector<float> w = random_matrix(rows * cols, 4);
  const TensorStatistics s = correlated(cols, 5, 300);
  core::ThreadPool one(1), five(5);
  for (const Rounding rounding : {Rounding::nearest, Rounding::imatrix, Rounding::gptq})
    for (const FormatId f :
         {FormatId::q2_0, FormatId::q4_0, FormatId::q5_1, FormatId::q4_k, FormatId::q6_k})
      EXPECT_EQ(round_matrix(w, rows, cols, f, {rounding, &s}, one),
                round_matrix(w, rows, cols, f, {rounding, &s}, five))
          << rounding_name(rounding);
}

TEST(Rounding, PlainRowsInPiecesHaveTheSameBytes) {
  const std::int64_t rows = 13, cols = 256;
  const std::vector<float> w = random_matrix(rows * cols, 6);
  const TensorStatistics s = correlated(cols, 5, 300);
  core::ThreadPool pool(2);
  for (const FormatId f : kBlockFormats)
    for (const Rounding rounding : {Rounding::nearest, Rounding::imatrix}) {
      const auto expected = round_matrix(w, rows, cols, f, {rounding, &s}, pool);
      const PlainRounding plain(cols, f, rounding == Rounding::nearest ? nullptr : &s);
      const std::int64_t row_bytes = format::matrix_bytes(f, 1, cols);
      std::vector<std::byte> pieces(expected.size());
      for (std::int64_t begin = 0, n = 1; begin < rows;
           begin += n, n = std::min(n + 1, rows - begin))
        plain.encode(std::span(w).subspan(static_cast<std::size_t>(begin * cols),
                                          static_cast<std::size_t>(n * cols)),
                     pieces.data() + begin * row_bytes);
      EXPECT_EQ(pieces, expected) << format::info(f).name;
    }
}

// Rows are independent: whole chunks of rows rounded by themselves give the same bytes (the
// exporter rounds in pieces).
TEST(Rounding, PiecesOfRowsGiveTheSameBytes) {
  const std::int64_t rows = 2 * kRowChunk + 6, cols = 96;
  const std::vector<float> w = random_matrix(rows * cols, 6);
  const TensorStatistics s = correlated(cols, 7, 300);
  core::ThreadPool pool(2);
  const std::vector<std::byte> whole =
      round_matrix(w, rows, cols, FormatId::q4_0, {Rounding::gptq, &s}, pool);
  std::vector<std::byte> pieces;
  for (std::int64_t begin = 0; begin < rows; begin += kRowChunk) {
    const std::int64_t n = std::min(kRowChunk, rows - begin);
    const auto part = round_matrix(std::span(w).subspan(static_cast<std::size_t>(begin * cols),
                                                        static_cast<std::size_t>(n * cols)),
                                   n, cols, FormatId::q4_0, {Rounding::gptq, &s}, pool);
    pieces.insert(pieces.end(), part.begin(), part.end());
  }
  EXPECT_EQ(whole, pieces);
}

TEST(Rounding, OddSizesAndDeadInputsStayFinite) {
  core::ThreadPool pool(2);
  for (const std::int64_t cols : {32, 96, 160, 256})
    for (const std::int64_t rows : {1, 3, 33}) {
      std::vector<float> w = random_matrix(rows * cols, 8);
      for (std::int64_t c = 0; c < 32; ++c)
        w[static_cast<std::size_t>(c)] = 0;  // one block of zeros
      TensorStatistics s = correlated(cols, 9, 200);
      std::vector<float> gram = *s.gram;
      for (std::int64_t c = 0; c < cols; c += 3)  // channels that were always zero
        for (std::int64_t k = 0; k < cols; ++k)
          gram[static_cast<std::size_t>(c * cols + k)] =
              gram[static_cast<std::size_t>(k * cols + c)] = 0;
      for (std::int64_t c = 0; c < cols; c += 3) s.sum_squares[static_cast<std::size_t>(c)] = 0;
      s.gram = std::make_shared<const std::vector<float>>(gram);
      TensorStatistics dead;
      dead.tokens = 10;
      dead.sum_squares.assign(static_cast<std::size_t>(cols), 0.0);
      dead.gram =
          std::make_shared<const std::vector<float>>(static_cast<std::size_t>(cols * cols), 0.0f);
      for (const FormatId f : kBlockFormats) {
        if (cols % format::info(f).block != 0) continue;
        for (const TensorStatistics* t : {&s, &dead})
          for (const float v : decode_matrix(
                   round_matrix(w, rows, cols, f, {Rounding::gptq, t}, pool), rows, cols, f))
            ASSERT_LT(std::abs(v), 2.0f) << format::info(f).name;
      }
      // Without any input all that is left is the weights' own error, which must stay that of
      // nearest rounding or better.
      const std::vector<float> gptq =
          decode_matrix(round_matrix(w, rows, cols, FormatId::q4_0, {Rounding::gptq, &dead}, pool),
                        rows, cols, FormatId::q4_0);
      const std::vector<float> near = decode_matrix(
          round_matrix(w, rows, cols, FormatId::q4_0, {}, pool), rows, cols, FormatId::q4_0);
      double eg = 0, en = 0;
      for (std::size_t i = 0; i < w.size(); ++i) {
        eg += std::pow(w[i] - gptq[i], 2);
        en += std::pow(w[i] - near[i], 2);
      }
      EXPECT_LE(eg, en * 1.0001);
    }
}

TEST(Rounding, HugeAndTinyWeights) {
  core::ThreadPool pool(1);
  const TensorStatistics s = correlated(256, 11, 300);
  for (const double scale : {1e-30, 1e-9, 2e3, 1e30}) {
    const std::vector<float> w = random_matrix(256 * 2, 12, scale);
    for (const FormatId f : kBlockFormats)
      if (scale > 1e9 * static_cast<double>(format::info(f).largest) /
                      65504.0)  // tests/files/quant/range_test.cpp has the bounds
        refusal([&] { round_matrix(w, 2, 256, f, {Rounding::gptq, &s}, pool); },
                core::ErrorKind::input);
      else
        for (const float v :
             decode_matrix(round_matrix(w, 2, 256, f, {Rounding::gptq, &s}, pool), 2, 256, f))
          ASSERT_TRUE(std::isfinite(v)) << format::info(f).name << scale;
  }
}

TEST(Rounding, Refusals) {
  core::ThreadPool pool(1);
  std::vector<float> w(64, 0.5f);
  TensorStatistics s = correlated(32, 1, 100);
  EXPECT_NE(
      refusal([&] { round_matrix(w, 2, 32, FormatId::q4_0, {Rounding::imatrix, nullptr}, pool); },
              core::ErrorKind::usage)
          .find("statistics"),
      std::string::npos);
  refusal([&] { round_matrix(w, 2, 32, FormatId::q4_k, {}, pool); }, core::ErrorKind::unsupported);
  refusal([&] { round_matrix(w, 1, 64, FormatId::q4_0, {Rounding::gptq, &s}, pool); },
          core::ErrorKind::input);
  refusal([&] { round_matrix(w, 1, 64, FormatId::q4_0, {Rounding::imatrix, &s}, pool); },
          core::ErrorKind::input);
  s.gram = nullptr;
  EXPECT_NE(refusal([&] { round_matrix(w, 2, 32, FormatId::q4_0, {Rounding::gptq, &s}, pool); },
                    core::ErrorKind::usage)
                .find("--gram"),
            std::string::npos);
  w[33] = std::nanf("");
  EXPECT_NE(
      refusal([&] { round_matrix(w, 2, 32, FormatId::q8_0, {}, pool); }, core::ErrorKind::input)
          .find("[1, 1]"),
      std::string::npos);
  refusal([] { rounding_by_name("best"); }, core::ErrorKind::usage);
  for (const char* name : {"nearest", "imatrix", "gptq"})
    EXPECT_EQ(rounding_name(rounding_by_name(name)), name);
}

arch::ModelDims tiny_dims() {
  arch::ModelDims d;
  d.vocab = 40;
  d.hidden = 32;
  d.head_dim = 8;
  d.positions = 64;
  d.tied = true;
  d.layers.assign(2, support::layer_sizes(2, 2, 64));
  return d;
}
Imatrix tiny_imatrix() {
  Imatrix m;
  m.tokens = 600;
  m.dataset = "text.txt";
  m.text_sha256 = "abc";
  const TensorStatistics hidden = correlated(32, 1, 600), ffn = correlated(64, 2, 600);
  for (int l = 0; l < 2; ++l) {
    for (const arch::Role r : {arch::Role::attn_q, arch::Role::attn_k, arch::Role::attn_v,
                               arch::Role::attn_output, arch::Role::ffn_gate, arch::Role::ffn_up})
      m.tensors[{r, l}] = hidden;
    m.tensors[{arch::Role::ffn_down, l}] = ffn;
  }
  m.tensors[{arch::Role::token_embd, -1}] = hidden;
  return m;
}

TEST(ImatrixFile, RoundTripsAndSharesGrams) {
  support::TempDir dir;
  const Imatrix m = tiny_imatrix();
  const arch::Arch& arch = *arch::arch_by_gguf_name("llama");
  for (const bool gram : {false, true}) {
    write_imatrix(m, dir.file("i.gguf"), gram);
    const Imatrix back = read_imatrix(dir.file("i.gguf"), arch, tiny_dims());
    EXPECT_EQ(back.tokens, 600);
    EXPECT_EQ(back.text_sha256, "abc");
    EXPECT_EQ(back.dataset, "text.txt");
    ASSERT_EQ(back.tensors.size(), m.tensors.size());
    for (const auto& [key, t] : m.tensors) {
      const TensorStatistics* b = back.find(key.first, key.second);
      ASSERT_NE(b, nullptr);
      EXPECT_EQ(b->tokens, t.tokens);
      for (std::size_t i = 0; i < t.sum_squares.size(); ++i)
        EXPECT_EQ(static_cast<float>(b->sum_squares[i]), static_cast<float>(t.sum_squares[i]));
      ASSERT_EQ(b->gram != nullptr, gram);
      if (gram) {
        EXPECT_EQ(*b->gram, *t.gram);
      }
    }
    if (gram) {
      EXPECT_EQ(back.find(arch::Role::attn_k, 0)->gram, back.find(arch::Role::attn_q, 0)->gram);
      EXPECT_EQ(back.find(arch::Role::attn_q, 2), nullptr);
    }
  }
}

TEST(ImatrixFile, Refusals) {
  support::TempDir dir;
  const arch::Arch& arch = *arch::arch_by_gguf_name("llama");
  const std::string path = dir.file("i.gguf");
  const auto refused = [&](const Imatrix& m, const char* part) {
    write_imatrix(m, path, true);
    EXPECT_NE(
        refusal([&] { read_imatrix(path, arch, tiny_dims()); }, core::ErrorKind::input).find(part),
        std::string::npos)
        << part;
  };
  Imatrix m = tiny_imatrix();
  m.tensors[{arch::Role::ffn_up, 2}] = m.tensors[{arch::Role::ffn_up, 0}];
  refused(m, "another model");
  m = tiny_imatrix();
  m.tensors[{arch::Role::ffn_up, 0}] = correlated(64, 1, 10);
  refused(m, "has 32 columns");
  m = tiny_imatrix();
  m.tensors[{arch::Role::ffn_up, 0}].sum_squares[3] = -1;
  refused(m, "negative");
  m = tiny_imatrix();
  m.tensors[{arch::Role::ffn_up, 0}].sum_squares[3] = std::nan("");
  refused(m, "[3] is");
  m = tiny_imatrix();
  m.tensors[{arch::Role::ffn_up, 0}].tokens = -1;
  refused(m, "counts is -1");
  format::GgufWriter writer(path);
  writer.set("general.type", format::GgufValue::string("model"));
  writer.begin();
  writer.finish();
  EXPECT_NE(refusal([&] { read_imatrix(path, arch, tiny_dims()); }, core::ErrorKind::input)
                .find("not an imatrix"),
            std::string::npos);
}

TEST(ImatrixFile, AMatrixThatNoTokenPassedHasNoStatistics) {
  support::TempDir dir;
  const arch::Arch& arch = *arch::arch_by_gguf_name("llama");
  Imatrix m = tiny_imatrix();
  m.tensors[{arch::Role::ffn_up, 0}].tokens = 0;
  write_imatrix(m, dir.file("i.gguf"), false);
  const Imatrix back = read_imatrix(dir.file("i.gguf"), arch, tiny_dims());
  EXPECT_EQ(back.find(arch::Role::ffn_up, 0), nullptr);
  EXPECT_EQ(back.tensors.size(), m.tensors.size() - 1);
}

// imatrix.dat with one entry, built by hand.
std::string old_imatrix(std::int32_t calls, std::int32_t cols, const std::string& name,
                        bool with_text, std::int32_t entries = 1) {
  std::string out;
  const auto number = [&](std::int32_t v) {
    out.append(reinterpret_cast<const char*>(&v), sizeof v);
  };
  number(entries);
  number(static_cast<std::int32_t>(name.size()));
  out += name;
  number(calls);
  number(cols);
  for (std::int32_t i = 0; i < cols; ++i) {
    const float v = static_cast<float>(calls * (i + 1));
    out.append(reinterpret_cast<const char*>(&v), sizeof v);
  }
  if (with_text) {
    number(8);
    number(8);
    out += "text.txt";
  }
  return out;
}

TEST(ImatrixFile, TheOldFormatIsRead) {
  support::TempDir dir;
  const arch::Arch& arch = *arch::arch_by_gguf_name("llama");
  const std::string path = dir.file("imatrix.dat"), name = "blk.1.ffn_down.weight";
  for (const bool with_text : {true, false}) {
    core::write_text_file(path, old_imatrix(8, 64, name, with_text));
    const Imatrix m = read_imatrix(path, arch, tiny_dims());
    EXPECT_EQ(m.dataset, with_text ? "text.txt" : "");
    ASSERT_EQ(m.tensors.size(), 1u);
    const TensorStatistics* t = m.find(arch::Role::ffn_down, 1);
    ASSERT_NE(t, nullptr);
    for (std::size_t i = 0; i < 64; ++i)
      EXPECT_EQ(t->sum_squares[i] / t->tokens, static_cast<double>(i + 1));
  }
  const auto refused = [&](const std::string& content, const char* part) {
    core::write_text_file(path, content);
    const std::string text =
        refusal([&] { read_imatrix(path, arch, tiny_dims()); }, core::ErrorKind::input);
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  refused("a text that is no imatrix at all", "neither an imatrix in GGUF nor an imatrix.dat");
  refused("", "truncated");
  refused(old_imatrix(8, 32, name, false), "another model");
  refused(old_imatrix(8, 64, "blk.7.ffn_down.weight", false), "another model");
  refused(old_imatrix(-1, 64, name, false), "the number of calls");
  refused(old_imatrix(8, 64, name, false).substr(0, 100), "truncated");
  refused(old_imatrix(8, 64, name, false, 2), "truncated");
  std::string twice = old_imatrix(8, 64, name, false, 2);
  refused(twice + twice.substr(4), "twice");
}

TEST(Imatrix, TheOutputMatrixReadsEnoughOfTheText) {
  EXPECT_EQ(tokens_for_output(576, 65536), 16384);
  EXPECT_EQ(tokens_for_output(576, 12288), 12288);
  EXPECT_EQ(tokens_for_output(8192, 65536), 32768);
}

}  // namespace
}  // namespace espalier::quant
