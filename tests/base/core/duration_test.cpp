// SPDX-License-Identifier: Apache-2.0
// Times and speeds for people, also where one unit goes over into the next.
#include "core/duration.h"

#include <gtest/gtest.h>

#include <cmath>

namespace espalier::core {
namespace {

TEST(Duration, HasTheTwoLargestUnits) {
  struct {
    double seconds;
    const char* shown;
  } const cases[] = {{0, "0s"},         {0.05, "0.05s"},      {0.994, "0.99s"},
                     {0.996, "1.0s"},   {4.24, "4.2s"},       {9.96, "10s"},
                     {48.4, "48s"},     {59.4, "59s"},        {59.6, "1m00s"},
                     {410, "6m50s"},    {3599.4, "59m59s"},   {3599.6, "1h00m"},
                     {7500, "2h05m"},   {86369, "23h59m"},    {86371, "1d00h"},
                     {273600, "3d04h"}, {86400e3, "1000d00h"}};
  for (const auto& c : cases) EXPECT_EQ(human_duration(c.seconds), c.shown) << c.seconds;
  for (const double none : {-1.0, std::nan(""), HUGE_VAL}) EXPECT_EQ(human_duration(none), "-");
}

TEST(Duration, SpeedsHaveAtLeastOneInTheirUnitOfTime) {
  struct {
    double rate;
    const char* shown;
  } const cases[] = {{1234, "1.2k tokens/s"},  {268e6, "268M tokens/s"}, {412.4, "412 tokens/s"},
                     {99.6, "100 tokens/s"},   {42.4, "42 tokens/s"},    {9.97, "10 tokens/s"},
                     {3.44, "3.4 tokens/s"},   {0.96, "1.0 tokens/s"},   {0.94, "56 tokens/min"},
                     {0.05, "3.0 tokens/min"}, {0.0014, "5.0 tokens/h"}, {0, "0.0 tokens/s"}};
  for (const auto& c : cases) EXPECT_EQ(human_rate(c.rate, "tokens"), c.shown) << c.rate;
  for (const double none : {-1.0, std::nan(""), HUGE_VAL}) EXPECT_EQ(human_rate(none, "x"), "-");
}

TEST(Duration, NumbersByTheNameOfTheirKey) {
  struct {
    const char* key;
    double value;
    const char* shown;
  } const cases[] = {{"file_bytes_max", 70e6, "70.0 MB"},
                     {"parameters", 268e6, "268M"},
                     {"tokens", 4088, "4.1k"},
                     {"tokens", 512, "512"},
                     {"seconds", 410, "6m50s"},
                     {"parameters_ratio", 0.7, "0.7"},
                     {"kl_mean", 0.12345678, "0.12346"},
                     {"decode_tokens_per_second", 41, "41"},
                     {"steps", 12345, "12345"},
                     {"kv_bytes_per_token", 46080, "46.1 kB"}};
  for (const auto& c : cases) EXPECT_EQ(human_value(c.key, c.value), c.shown) << c.key;
}

TEST(Duration, AValueIsNotShownAsItsLimit) {
  const HumanPair far = human_values("file_bytes_max", 61e6, 60e6);
  EXPECT_EQ(far.value + " " + far.limit, "61.0 MB 60.0 MB");
  const HumanPair near = human_values("file_bytes_max", 60'000'001, 60e6);
  EXPECT_EQ(near.value + " " + near.limit, "60000001 60000000");
  const HumanPair same = human_values("file_bytes_max", 60e6, 60e6);
  EXPECT_EQ(same.value + " " + same.limit, "60.0 MB 60.0 MB");
}

}  // namespace
}  // namespace espalier::core
