// SPDX-License-Identifier: Apache-2.0
// Weights of terms as text, and which layers are compared.
#include "objective/weight.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "objective/layer_pairs.h"

namespace espalier::objective {
namespace {

template <typename Run>
void expect_refused(core::ErrorKind kind, const std::vector<std::string>& words, Run&& run) {
  try {
    run();
    FAIL() << "accepted; expected a refusal naming " << words.front();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string& w : words)
      EXPECT_NE(std::string(error.what()).find(w), std::string::npos)
          << w << " in: " << error.what();
  }
}

TEST(Weight, StaysOrMovesFromTheFirstStepToTheLast) {
  const Weight fixed = parse_weight("0.5", "x"), moving = parse_weight("1 to 0.1", "x");
  for (const double progress : {0.0, 0.3, 1.0}) EXPECT_EQ(fixed.at(progress), 0.5);
  EXPECT_DOUBLE_EQ(moving.at(0), 1);
  EXPECT_DOUBLE_EQ(moving.at(0.5), 0.55);
  EXPECT_DOUBLE_EQ(moving.at(1), 0.1);
  EXPECT_EQ(parse_weight("0 to 2", "x").at(0), 0);
}

TEST(Weight, WhatIsNoWeightIsRefused) {
  for (const char* text : {"", "much", "1 to", "to 1", "1 to 2 to 3", "1to2", "0.5x", "1 to x"})
    expect_refused(core::ErrorKind::usage, {"terms: ce", "expected a number such as 0.5"},
                   [&] { parse_weight(text, "terms: ce"); });
  for (const char* text : {"-1", "1001", "1 to -0.1", "nan", "inf"})
    expect_refused(core::ErrorKind::usage, {"terms: ce", "0 to 1000"},
                   [&] { parse_weight(text, "terms: ce"); });
  expect_refused(core::ErrorKind::usage, {"weight 0", "leave it out"},
                 [&] { parse_weight("0 to 0", "terms: ce"); });
}

std::string pairs(const std::vector<std::string>& given, const Origin& origin) {
  std::string out;
  for (const LayerPair& pair : layer_pairs("hidden_layers", given, origin, 3, 6))
    out += (out.empty() ? "" : " ") + to_text(pair);
  return out;
}

TEST(LayerPairs, ComeFromThePlanOrAreGiven) {
  const Origin plan{.layers = {0, 2, 5}};
  EXPECT_EQ(pairs({}, plan), "0:0 1:2 2:5");
  EXPECT_EQ(pairs({"2", "0"}, plan), "2:5 0:0");
  EXPECT_EQ(pairs({"2", "0:1"}, plan), "2:5 0:1");
  EXPECT_EQ(pairs({"1:4"}, {}), "1:4");
  EXPECT_TRUE(needs_origin({}));
  EXPECT_TRUE(needs_origin({"1:4", "2"}));
  EXPECT_FALSE(needs_origin({"1:4"}));
}

TEST(LayerPairs, WhatIsUnknownOrNoPairIsRefused) {
  const Origin unknown{.unknown = "student/plan.json is missing"};
  expect_refused(core::ErrorKind::input,
                 {"student/plan.json is missing", "give hidden_layers", "student:teacher"},
                 [&] { pairs({}, unknown); });
  expect_refused(core::ErrorKind::input, {"plan.json is missing"},
                 [&] { pairs({"0:0", "1"}, unknown); });
  expect_refused(core::ErrorKind::input, {"keeps 2 layers", "student has 3"},
                 [&] { pairs({}, {.layers = {0, 1}}); });
  for (const char* text : {"3:0", "-1:0", "x:0", ":0", "0:6", "0:", "0:x", "0:1:2"})
    expect_refused(core::ErrorKind::usage, {std::string("'") + text + "'", "has layers 0 to"},
                   [&] { pairs({text}, {}); });
  expect_refused(core::ErrorKind::usage, {"layer 1", "given twice"},
                 [&] { pairs({"1:0", "1:2"}, {}); });
}

}  // namespace
}  // namespace espalier::objective
