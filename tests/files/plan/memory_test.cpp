// SPDX-License-Identifier: Apache-2.0
// A limit of memory makes batches smaller before it refuses.
#include "plan/memory.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace espalier::plan {
namespace {

constexpr std::int64_t kOther = 1000, kOfToken = 10;

std::int64_t batch(std::int64_t limit, std::int64_t sequence) {
  return batch_within(limit, sequence, "advice",
                      [](std::int64_t tokens) { return kOther + kOfToken * tokens; });
}

TEST(Memory, BatchesFollowTheLimit) {
  EXPECT_EQ(batch(0, 512), 2048);
  EXPECT_EQ(batch(kOther + kOfToken * 2048, 512), 2048);
  EXPECT_EQ(batch(kOther + kOfToken * 2048 - 1, 512), 1536);
  EXPECT_EQ(batch(kOther + kOfToken * 512, 512), 512);
  EXPECT_EQ(batch(0, 300), 1800) << "whole windows";
  EXPECT_EQ(batch(0, 4000), 4000) << "at least one";
}

TEST(Memory, OneWindowTooMuchIsRefused) {
  for (const std::int64_t sequence : {512, 4000}) {
    try {
      batch(kOther + kOfToken * sequence - 1, sequence);
      ADD_FAILURE() << sequence;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
      EXPECT_NE(std::string(e.what()).find("advice"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace espalier::plan
