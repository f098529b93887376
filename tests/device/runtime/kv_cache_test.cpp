// SPDX-License-Identifier: Apache-2.0
// What the cache keeps: every position where a layer sees all, and where it has a window those that
// the window still covers.
#include "runtime/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace espalier::runtime {
namespace {

constexpr std::int64_t kHeadDim = 32, kContext = 3000, kWindow = 100;

arch::ModelDims two_layers() {
  arch::ModelDims dims;
  dims.head_dim = kHeadDim;
  dims.window = kWindow;
  dims.layers.resize(2);
  for (arch::LayerDims& l : dims.layers) l[arch::Axis::kv_groups] = 3;
  dims.layers[0].local = true;
  return dims;
}

float pattern(int layer, std::int64_t group, std::int64_t position) {
  return static_cast<float>(position * 8 + group * 2 + layer + 1);
}

// The value row of one position: attention that sees nothing else.
float read(const KvCache& cache, int layer, std::int64_t group, std::int64_t position,
           const kernels::StepKernels& steps) {
  const std::vector<float> q(kHeadDim, 0.0f);
  std::vector<float> out(kHeadDim), scores(1);
  const std::int64_t one = 1;
  cache.attend(layer, group, position,
               {.q = q.data(),
                .ldq = kHeadDim,
                .n = 1,
                .visible = &one,
                .scale = 1.0f,
                .cap = 0,
                .scores = scores.data(),
                .out = out.data(),
                .ldo = kHeadDim},
               steps);
  return out[7];
}

TEST(KvCache, GivesBackOnlyWhatWindowsLeftBehind) {
  const kernels::StepKernels& steps = kernels::steps(kernels::select_isa());
  for (const auto type : {SessionOptions::KvType::f32, SessionOptions::KvType::f16}) {
    KvCache cache(two_layers(), kContext, type);
    for (int round = 0; round < 2; ++round) {  // the second finds pages that were given back
      cache.clear();
      for (std::int64_t position = 0; position < kContext; ++position) {
        for (int layer = 0; layer < 2; ++layer)
          for (std::int64_t g = 0; g < 3; ++g) {
            const std::vector<float> row(kHeadDim, pattern(layer, g, position) / 1024);
            cache.store(layer, g, position, row.data(), row.data(), steps);
          }
        cache.advance(1);
        if (position % 97 != 0) continue;
        for (std::int64_t g = 0; g < 3; ++g) {
          const double tolerance = type == SessionOptions::KvType::f16 ? 0.01 : 0;
          for (std::int64_t p = position - std::min(position, kWindow - 1); p <= position; ++p)
            ASSERT_NEAR(read(cache, 0, g, p, steps), pattern(0, g, p) / 1024, tolerance)
                << position << " " << g << " " << p;
          for (std::int64_t p = 0; p <= position; p += 13)
            ASSERT_NEAR(read(cache, 1, g, p, steps), pattern(1, g, p) / 1024, tolerance)
                << position << " " << g << " " << p;
        }
      }
      EXPECT_EQ(read(cache, 0, 1, 1000, steps), 0);  // control: given back
      EXPECT_GE(cache.earliest_rewind(), 1000);
      EXPECT_LE(cache.earliest_rewind(), kContext - 100);  // the last tokens can be taken back
      EXPECT_NE(read(cache, 1, 1, 1000, steps), 0);
    }
  }
}

}  // namespace
}  // namespace espalier::runtime
