// SPDX-License-Identifier: Apache-2.0
// What a test of all golden checkpoints went through, as triples (family, checkpoint, check):
// printed when the program ends, and where all of its tests ran there have to be exactly as many as
// the test says.
#pragma once
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace espalier::support {

class Triples : public testing::Environment {
 public:
  // `side`: what is printed. Registered with testing::AddGlobalTestEnvironment, which owns it.
  Triples(std::string side, std::size_t expected) : side_(std::move(side)), expected_(expected) {}
  // At the end of a check; does not count when the test has failed.
  static void passed(std::string_view family, const std::string& checkpoint,
                     const std::string& check);
  void TearDown() override;

 private:
  std::string side_;
  std::size_t expected_;
};

}  // namespace espalier::support
