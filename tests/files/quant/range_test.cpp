// SPDX-License-Identifier: Apache-2.0
// A weight beyond a format's range is refused with its place by every rounding; within it, it comes
// back. Matrices of tiny weights are refused where binary16 would lose them.
#include "quant/range.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>

#include "core/error.h"
#include "core/rng.h"
#include "quant/grid.h"
#include "quant/rounding.h"

namespace espalier::quant {
namespace {

using format::FormatId;

constexpr std::int64_t kRows = 4, kCols = 256;

std::vector<float> random_matrix(double scale) {
  core::Rng rng(3);
  std::vector<float> out(static_cast<std::size_t>(kRows * kCols));
  for (float& v : out) v = static_cast<float>(scale * rng.normal());
  return out;
}
TensorStatistics flat() {
  TensorStatistics s;
  s.tokens = 1;
  s.sum_squares.assign(kCols, 1.0);
  std::vector<float> identity(kCols * kCols, 0.0f);
  for (std::int64_t i = 0; i < kCols; ++i) identity[i * (kCols + 1)] = 1;
  s.gram = std::make_shared<const std::vector<float>>(identity);
  return s;
}
constexpr Rounding kRoundings[] = {Rounding::nearest, Rounding::imatrix, Rounding::gptq};

// Formats that refuse one weight of `value` among normal ones; the others give it back.
std::set<std::string> refusing(float value) {
  core::ThreadPool pool(1);
  const TensorStatistics statistics = flat();
  std::vector<float> w = random_matrix(0.05);
  w[2 * kCols + 37] = value;
  std::set<std::string> out;
  for (const format::QuantFormat& f : format::all_formats()) {
    int refused = 0;
    for (const Rounding rounding : kRoundings) try {
        const auto bytes = round_matrix(w, kRows, kCols, f.id, {rounding, &statistics}, pool);
        const float back = decode_matrix(bytes, kRows, kCols, f.id)[2 * kCols + 37];
        // Levels of FP4 lie a third apart.
        const float tolerance = f.id == FormatId::mxfp4 ? 0.2f : 0.05f;
        EXPECT_NEAR(back, value, tolerance * std::fabs(value)) << f.name << rounding_name(rounding);
      } catch (const core::Error& e) {
        ++refused;
        EXPECT_EQ(e.kind(), core::ErrorKind::input);
        EXPECT_NE(std::string(e.what()).find("[2, 37] is "), std::string::npos) << e.what();
      }
    EXPECT_TRUE(refused == 0 || refused == 3) << f.name;
    RangeCheck range(kCols, f.id);
    range.add(w, pool);
    EXPECT_EQ(range.beyond().empty(), refused == 0) << f.name;
    if (refused > 0) out.emplace(f.name);
  }
  return out;
}

TEST(Range, AWeightIsHeldOrRefused) {
  using Names = std::set<std::string>;
  EXPECT_EQ(refusing(65504.0f), Names{});
  EXPECT_EQ(refusing(-65504.0f), Names{});
  EXPECT_EQ(refusing(1e6f), (Names{"f16", "q2_0", "q4_0", "q4_1"}));
  EXPECT_EQ(refusing(-1e6f), (Names{"f16", "q2_0", "q2_k", "q4_0", "q4_1", "q5_1"}));
  EXPECT_EQ(refusing(3e7f).count("q4_k"), 0u);
  EXPECT_EQ(refusing(1e30f).size(), 14u);  // all but mxfp4, bf16 and f32
  EXPECT_EQ(refusing(3.4e38f).size(), 16u);
}

TEST(Range, TheRefusalNamesFormatsThatHold) {
  core::ThreadPool pool(1);
  std::vector<float> w = random_matrix(0.05);
  w[5] = 1e6f;
  RangeCheck range(kCols, FormatId::q4_0);
  range.add(random_matrix(1), pool);
  EXPECT_EQ(range.refusal(), "");
  range.add(w, pool);
  EXPECT_EQ(range.refusal(),
            "weight [4, 5] is 1e+06, beyond what q4_0 can store; formats that can: f32, q5_0, "
            "q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, bf16, mxfp4");
}

// Whoever checks pieces on several threads is told what one check of all rows tells.
TEST(Range, PiecesTellTheSameAsTheWhole) {
  core::ThreadPool pool(3);
  for (const format::QuantFormat& f : format::all_formats())
    for (const double scale : {0.05, 1e-9, 1e30}) {
      std::vector<float> w = random_matrix(scale);
      w[3 * kCols + 7] = scale == 0.05 ? 1e6f : 0.0f;
      RangeCheck whole(kCols, f.id), threads(kCols, f.id), joined(kCols, f.id);
      whole.add(w);
      threads.add(w, pool);
      for (std::int64_t row = 0; row < kRows; ++row) {
        RangeCheck piece(kCols, f.id, row);
        piece.add(std::span(w).subspan(static_cast<std::size_t>(row * kCols), kCols));
        joined.add(piece);
      }
      EXPECT_EQ(threads.refusal(), whole.refusal()) << f.name;
      EXPECT_EQ(joined.refusal(), whole.refusal()) << f.name;
      EXPECT_EQ(joined.beyond(), whole.beyond()) << f.name;
    }
}

TEST(Range, TinyWeights) {
  core::ThreadPool pool(2);
  for (const format::QuantFormat& f : format::all_formats()) {
    const bool wide = f.id == FormatId::f32 || f.id == FormatId::bf16 || f.id == FormatId::mxfp4;
    const auto refused = [&](std::initializer_list<double> scales) {
      RangeCheck range(kCols, f.id);
      Magnitudes magnitudes;
      for (const double scale : scales) {
        const std::vector<float> w = random_matrix(scale);
        range.add(w, pool);
        magnitudes.add(w);
      }
      const bool out = !range.refusal().empty();
      EXPECT_FALSE(out && magnitudes.surely_held(f.id)) << f.name;
      return out;
    };
    EXPECT_EQ(refused({1e-9}), !wide) << f.name;
    EXPECT_EQ(refused({1e-30}), !wide) << f.name;
    EXPECT_FALSE(refused({0.02})) << f.name;
    EXPECT_FALSE(refused({0.02, 1e-9})) << f.name;  // rows that nobody uses
    EXPECT_FALSE(refused({0.0})) << f.name;
  }
}

TEST(Range, NormalWeightsAreSurelyHeld) {
  Magnitudes magnitudes;
  magnitudes.add(random_matrix(0.02));
  magnitudes.add(random_matrix(1e-9));
  for (const format::QuantFormat& f : format::all_formats())
    EXPECT_TRUE(magnitudes.surely_held(f.id)) << f.name;
  std::vector<float> w = random_matrix(0.02);
  w[9] = 1e6f;
  magnitudes.add(w);
  EXPECT_FALSE(magnitudes.surely_held(FormatId::q8_0));  // it holds it, but has to be asked
  EXPECT_TRUE(magnitudes.surely_held(FormatId::f32));
}

}  // namespace
}  // namespace espalier::quant
