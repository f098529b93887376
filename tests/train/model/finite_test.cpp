// SPDX-License-Identifier: Apache-2.0
// One value that is not finite is found wherever it stands, by every way through the check.
#include "model/finite.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>

namespace espalier::model {
namespace {

TEST(AllFinite, FindsOneValueAnywhere) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::int64_t n : {1, 7, 8, 9, 200000}) {
    torch::Tensor t = torch::full({n}, std::numeric_limits<float>::max());
    EXPECT_TRUE(all_finite(t));
    for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1})
      for (const float value : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
        t[at] = value;
        EXPECT_FALSE(all_finite(t)) << value << " at " << at << " of " << n;
        t[at] = -std::numeric_limits<float>::denorm_min();
      }
    EXPECT_TRUE(all_finite(t));
  }
}

TEST(AllFinite, TakesOtherLayoutsAndTypes) {
  torch::Tensor t = torch::ones({20, 30});
  EXPECT_TRUE(all_finite(t.t()) && all_finite(t.to(torch::kFloat64)) &&
              all_finite(t.narrow(0, 0, 0)));
  t[3][4] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(all_finite(t.t()) || all_finite(t.to(torch::kFloat64)));
  EXPECT_TRUE(all_finite(t.narrow(0, 4, 10)));
}

}  // namespace
}  // namespace espalier::model
