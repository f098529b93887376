// SPDX-License-Identifier: Apache-2.0
// Time belongs to the innermost section, every second belongs to one, and other threads do not
// count.
#include "core/profile.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace espalier::core {
namespace {

void wait(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

TEST(Profile, EachSecondBelongsToOneSection) {
  {
    const Section unmeasured("before");
    count_operations(7);
  }
  start_profile();
  const auto start = std::chrono::steady_clock::now();
  {
    const Section outer("outer");
    wait(4);
    for (int i = 0; i < 3; ++i) {
      const Section inner("inner");
      count_operations(100);
      wait(10);
    }
    count_operations(5);
  }
  std::thread([] {
    const Section elsewhere("elsewhere");
    count_operations(1000);
  }).join();
  wait(2);
  const std::vector<SectionTime> found = profile();
  const double total =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].name, "inner");
  EXPECT_EQ(found[0].calls, 3);
  EXPECT_EQ(found[0].operations, 300);
  EXPECT_GE(found[0].seconds, 0.030);
  EXPECT_EQ(found[1].name, "outer");
  EXPECT_EQ(found[1].operations, 5);
  EXPECT_GE(found[1].seconds, 0.004);
  EXPECT_EQ(found[2].name, "other");
  EXPECT_EQ(found[2].operations, 0);
  EXPECT_LE(found[0].seconds + found[1].seconds + found[2].seconds, total + 1e-3);
}

}  // namespace
}  // namespace espalier::core
