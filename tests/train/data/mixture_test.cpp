// SPDX-License-Identifier: Apache-2.0
// Windows of several texts come in proportion to the weights, mixed from the first on, and are
// those that each text would give alone.
#include "data/mixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/notes.h"

namespace espalier::data {
namespace {

// Text i has the ids from 1000 i on, so a token tells its text.
Corpus corpus(std::int64_t index, std::int64_t tokens) {
  Corpus out{"text" + std::to_string(index), "hash" + std::to_string(index), {}};
  for (std::int64_t t = 0; t < tokens; ++t)
    out.tokens.push_back(static_cast<std::int32_t>(1000 * index + t % 1000));
  return out;
}
constexpr std::int64_t kVocab = 4000, kSequence = 8;

std::vector<std::int64_t> texts_of(const std::vector<std::int64_t>& ids) {
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < ids.size(); i += kSequence) out.push_back(ids[i] / 1000);
  return out;
}

TEST(Mixture, WindowsComeInProportion) {
  const Mixture mixture({corpus(0, 900), corpus(1, 900), corpus(2, 900)}, {4, 2, 1});
  const auto ids = calibration_ids(mixture, {70 * kSequence, kSequence, 5}, kVocab);
  const std::vector<std::int64_t> texts = texts_of(ids);
  ASSERT_EQ(texts.size(), 70u);
  // Of every beginning, each text has its share to within one window.
  const double share[] = {4 / 7.0, 2 / 7.0, 1 / 7.0};
  for (std::size_t n = 1; n <= texts.size(); ++n)
    for (std::int64_t t = 0; t < 3; ++t)
      EXPECT_LE(std::abs(static_cast<double>(std::count(
                             texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(n), t)) -
                         share[t] * static_cast<double>(n)),
                1.0 + 1e-9)
          << n << " " << t;
  EXPECT_EQ(std::count(texts.begin(), texts.end(), 0), 40);
  EXPECT_EQ(ids, calibration_ids(mixture, {70 * kSequence, kSequence, 5}, kVocab));
  EXPECT_NE(ids, calibration_ids(mixture, {70 * kSequence, kSequence, 6}, kVocab));
}

TEST(Mixture, WindowsAreThoseOfTheTextAlone) {
  const Mixture mixture({corpus(1, 500), corpus(2, 300)}, {1, 1});
  const auto mixed = calibration_ids(mixture, {20 * kSequence, kSequence, 9}, kVocab),
             alone = calibration_ids(corpus(2, 300), {10 * kSequence, kSequence, 9}, kVocab);
  std::vector<std::int64_t> second;
  for (const std::int64_t id : mixed)
    if (id >= 2000) second.push_back(id);
  EXPECT_EQ(second, alone);
  EXPECT_EQ(calibration_ids(Mixture(corpus(2, 300)), {10 * kSequence, kSequence, 9}, kVocab),
            alone);
}

TEST(Mixture, ATextThatEndsGivesWhatItHas) {
  std::vector<std::string> notes;
  core::hear_notes([&](const std::string& note) { notes.push_back(note); });
  const Mixture mixture({corpus(0, 900), corpus(1, 3 * kSequence)}, {1, 1});
  const std::vector<std::int64_t> texts =
      texts_of(calibration_ids(mixture, {20 * kSequence, kSequence, 5}, kVocab));
  core::hear_notes({});
  EXPECT_EQ(std::count(texts.begin(), texts.end(), 0), 10);  // no more than its share
  EXPECT_EQ(std::count(texts.begin(), texts.end(), 1), 3);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("text1: 24 of 80 tokens"), std::string::npos) << notes[0];
}

TEST(Mixture, RefusesWhatGivesNothing) {
  const auto refusal = [](const Mixture& mixture, const text::CalibrationOptions& options) {
    try {
      calibration_ids(mixture, options, kVocab);
    } catch (const core::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const text::CalibrationOptions options{20 * kSequence, kSequence, 5};
  EXPECT_NE(refusal({{corpus(0, 900), corpus(1, 7)}, {1, 1}}, options).find("text1"),
            std::string::npos);
  EXPECT_NE(refusal({{corpus(0, 900), corpus(1, 90)}, {1000, 1}}, options).find("text1"),
            std::string::npos);
  EXPECT_NE(refusal({{corpus(0, 900), corpus(9, 90)}, {1, 1}}, options).find("vocabulary"),
            std::string::npos);
}

TEST(Mixture, NamesAndHashes) {
  const Mixture both({corpus(0, 90), corpus(1, 90)}, {2, 0.5});
  EXPECT_EQ(both.path(), "text0:2 text1:0.5");
  EXPECT_EQ(Mixture(corpus(1, 90)).path(), "text1");
  EXPECT_EQ(Mixture(corpus(1, 90)).sha256(), "hash1");
  EXPECT_NE(both.sha256(), Mixture({corpus(0, 90), corpus(1, 90)}, {2, 1}).sha256());
  EXPECT_NE(both.sha256(), Mixture({corpus(1, 90), corpus(0, 90)}, {2, 0.5}).sha256());
}

}  // namespace
}  // namespace espalier::data
