// SPDX-License-Identifier: Apache-2.0
// Vector searches against the plain ones, bit by bit, for every instruction set that runs here.
#include "format/lanes/lanes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/rng.h"

namespace espalier::format {
namespace {

// Blocks of every kind that matrices have. `kind` counts them.
constexpr int kKinds = 12;
std::vector<float> block_of(int kind, int n, core::Rng& rng) {
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) v = static_cast<float>(0.05 * rng.normal());
  const auto all = [&](float v) { std::fill(x.begin(), x.end(), v); };
  switch (kind) {
    case 1:
      all(0.0f);
      break;
    case 2:
      all(-0.0f);
      break;
    case 3:
      all(0.25f);
      break;
    case 4:
      all(-3.0f);
      break;
    case 5:  // an outlier
      x[x.size() / 3] = 9.0f;
      break;
    case 6:  // denormal numbers
      for (float& v : x) v *= 1e-38f;
      break;
    case 7:
      for (float& v : x) v *= 1e30f;
      break;
    case 8:  // squares overflow
      for (float& v : x) v *= 1e35f;
      break;
    case 9:  // one sign
      for (float& v : x) v = 0.1f + std::fabs(v);
      break;
    case 10:  // half of it zero, with signs
      for (std::size_t i = 0; i < x.size(); i += 2) x[i] = i % 4 == 0 ? 0.0f : -0.0f;
      break;
    case 11:  // ties between magnitudes and between levels
      for (float& v : x) v = std::round(v * 60) / 8;
      break;
    default:
      break;
  }
  return x;
}
// Weights: equal, of many sizes, with zeros, and all zero.
std::vector<float> weights_of(int kind, int n, core::Rng& rng) {
  std::vector<float> w(static_cast<std::size_t>(n), 1.0f);
  for (float& v : w) {
    if (kind % 4 == 1) v = static_cast<float>(std::exp(3 * rng.normal()));
    if (kind % 4 == 2) v = rng.uniform() < 0.4 ? 0.0f : static_cast<float>(rng.uniform());
    if (kind % 4 == 3) v = 0;
  }
  return w;
}

// kLanes blocks of n values with weights, apart and value by value.
struct Lanes {
  std::vector<float> x[kLanes], weight[kLanes], usable[kLanes];
  std::vector<float> lane_x, lane_weight, lane_usable;

  Lanes(int n, int round, core::Rng& rng) {
    const auto size = static_cast<std::size_t>(n);
    lane_x.resize(size * kLanes);
    lane_weight = lane_usable = lane_x;
    for (int l = 0; l < kLanes; ++l) {
      x[l] = block_of((round + l) % kKinds, n, rng);
      weight[l] = weights_of(round / 2 + l, n, rng);
      std::vector<float> uniform(size);
      const float* use = usable_weights(weight[l].data(), n, uniform.data());
      usable[l].assign(use, use + n);
      for (std::size_t i = 0; i < size; ++i) {
        const std::size_t at = i * kLanes + static_cast<std::size_t>(l);
        lane_x[at] = x[l][i];
        lane_weight[at] = weight[l][i];
        lane_usable[at] = usable[l][i];
      }
    }
  }
};

// Bits, except that NaN equals NaN.
void expect_same(float a, float b, const std::string& where) {
  if (std::isnan(a) && std::isnan(b)) return;
  std::uint32_t p, q;
  std::memcpy(&p, &a, sizeof p);
  std::memcpy(&q, &b, sizeof q);
  EXPECT_EQ(p, q) << where << ": " << a << " instead of " << b;
}

int for_each_search(const auto& use) {
  int n = 0;
  for (const LaneSearch& search : lane_searches()) {
    if (!search.runnable()) continue;
    ++n;
    for (const QuantFormat& f : all_formats())
      if (f.grid != nullptr) use(search, f, std::string(search.isa) + " " + std::string(f.name));
  }
  return n;
}

TEST(Lanes, TheBestIsTheLastThatRuns) {
  EXPECT_TRUE(lane_searches()[0].runnable());
  const LaneSearch* last = nullptr;
  for (const LaneSearch& search : lane_searches())
    if (search.runnable()) last = &search;
  EXPECT_EQ(last, &lane_search());
}

TEST(Lanes, InterleavedValuesAreInTheirPlaces) {
  std::vector<float> from(kLanes * 50);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
  for (const LaneSearch& search : lane_searches()) {
    if (!search.runnable()) continue;
    std::vector<float> to(40 * kLanes);
    search.interleave(from.data(), 50, 40, to.data());
    for (int i = 0; i < 40; ++i)
      for (int l = 0; l < kLanes; ++l)
        ASSERT_EQ(to[static_cast<std::size_t>(i * kLanes + l)], static_cast<float>(50 * l + i))
            << search.isa;
  }
}

TEST(Lanes, FitsAreThoseOfThePlainSearch) {
  core::Rng rng(1);
  const int n =
      for_each_search([&](const LaneSearch& search, const QuantFormat& f, const std::string& name) {
        const Grid& grid = *f.grid;
        for (int round = 0; round < 40; ++round) {
          const Lanes in(grid.sub, round, rng);
          float step[kLanes], offset[kLanes];
          search.fit(grid, in.lane_x.data(), in.lane_usable.data(), step, offset);
          for (int l = 0; l < kLanes; ++l) {
            const Affine expected = grid.fit(in.x[l].data(), in.usable[l].data());
            expect_same(step[l], expected.scale, name + " step " + std::to_string(round + l));
            expect_same(offset[l], expected.min, name + " offset " + std::to_string(round + l));
          }
        }
      });
  EXPECT_GE(n, 1);
}

TEST(Lanes, SuperBlocksAreThoseOfThePlainSearch) {
  core::Rng rng(2);
  int checked = 0;
  for_each_search([&](const LaneSearch& search, const QuantFormat& f, const std::string& name) {
    const Grid& grid = *f.grid;
    if (!grid.super) return;
    for (int round = 0; round < 26; ++round) {
      const Lanes in(grid.block, round, rng);
      SuperLanes out;
      search.fit_super(grid, in.lane_x.data(), in.lane_usable.data(), true, out);
      for (int l = 0; l < kLanes; ++l) {
        Parts expected, found;
        grid.fit_super(in.x[l].data(), in.usable[l].data(), expected);
        found.d = out.d[l];
        found.m = out.m[l];
        grid.store_scales(out.scale[l], out.min[l], found);
        std::memcpy(found.q, out.q[l], sizeof out.q[l]);
        std::vector<std::byte> a(static_cast<std::size_t>(f.block_bytes)), b = a;
        f.put_together(expected, a.data());
        f.put_together(found, b.data());
        EXPECT_EQ(a, b) << name << " kind " << (round + l) % kKinds;
        ++checked;
      }
    }
  });
  EXPECT_GE(checked, 6 * 26 * kLanes);
}

// Many blocks at once give the bytes of one block after another, which never fill the lanes.
TEST(Lanes, EncodersGiveTheSameBytesForManyBlocksAsForOne) {
  core::Rng rng(3);
  int formats = 0;
  for (const QuantFormat& f : all_formats()) {
    if (f.is_float()) continue;
    ++formats;
    const int blocks = 3 * kLanes + 5, n = static_cast<int>(f.block);
    for (int round = 0; round < 8; ++round) {
      std::vector<float> x, importance;
      for (int b = 0; b < blocks; ++b) {
        const std::vector<float> values = block_of((b + round) % kKinds, n, rng),
                                 weights = weights_of(b / 3 + round, n, rng);
        x.insert(x.end(), values.begin(), values.end());
        importance.insert(importance.end(), weights.begin(), weights.end());
      }
      const float* given = round % 2 == 0 ? nullptr : importance.data();
      const auto bytes = static_cast<std::size_t>(f.block_bytes);
      std::vector<std::byte> all(bytes * static_cast<std::size_t>(blocks)), one(bytes);
      f.encode(x.data(), given, all.data(), blocks * f.block);
      for (int b = 0; b < blocks; ++b) {
        f.encode(x.data() + b * n, given == nullptr ? nullptr : given + b * n, one.data(), n);
        EXPECT_EQ(0,
                  std::memcmp(one.data(), all.data() + static_cast<std::size_t>(b) * bytes, bytes))
            << f.name << " block " << b << " kind " << (b + round) % kKinds
            << (given != nullptr ? " weighted" : "");
      }
    }
  }
  EXPECT_EQ(formats, 14);
}

// Each instruction set rounds small blocks alike.
TEST(Lanes, SmallBlocksAreTheSameOnEveryInstructionSet) {
  core::Rng rng(4);
  for_each_search([&](const LaneSearch& search, const QuantFormat& f, const std::string& name) {
    const Grid& grid = *f.grid;
    if (grid.block != 32) return;
    for (int round = 0; round < 24; ++round) {
      const Lanes in(32, round, rng);
      const float* importance = round % 2 == 0 ? nullptr : in.lane_weight.data();
      SmallLanes a, b;
      search.round_small(grid, in.lane_x.data(), importance, a);
      lane_searches()[0].round_small(grid, in.lane_x.data(), importance, b);
      EXPECT_EQ(0, std::memcmp(a.d, b.d, sizeof a.d)) << name;
      EXPECT_EQ(0, std::memcmp(a.m, b.m, sizeof a.m)) << name;
      EXPECT_EQ(0, std::memcmp(a.q, b.q, sizeof a.q)) << name;
    }
  });
}

}  // namespace
}  // namespace espalier::format
