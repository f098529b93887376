// SPDX-License-Identifier: Apache-2.0
// Energy counters as Linux shows them, in a folder of our own.
#include "runtime/energy.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "core/file.h"
#include "support/temp_dir.h"

namespace espalier::runtime {
namespace {

void write_package(const support::TempDir& folder, const std::string& name,
                   std::uint64_t microjoules, std::uint64_t range) {
  std::filesystem::create_directories(folder.file(name));
  core::write_text_file(folder.file(name) + "/energy_uj", std::to_string(microjoules) + "\n");
  core::write_text_file(folder.file(name) + "/max_energy_range_uj", std::to_string(range) + "\n");
}

TEST(EnergyMeter, SumsPackagesAndNotTheirParts) {
  const support::TempDir folder;
  write_package(folder, "intel-rapl:0", 1'000'000, 10'000'000);
  write_package(folder, "intel-rapl:0:0", 0, 10'000'000);  // the cores of package 0
  write_package(folder, "intel-rapl:1", 500'000, 10'000'000);
  const EnergyMeter meter(folder.path());
  write_package(folder, "intel-rapl:0", 3'000'000, 10'000'000);
  write_package(folder, "intel-rapl:0:0", 1'000'000, 10'000'000);
  write_package(folder, "intel-rapl:1", 750'000, 10'000'000);
  ASSERT_TRUE(meter.joules().has_value());
  EXPECT_DOUBLE_EQ(*meter.joules(), 2.25);
}

TEST(EnergyMeter, CounterBeginsAnew) {
  const support::TempDir folder;
  write_package(folder, "intel-rapl:0", 9'000'000, 10'000'000);
  const EnergyMeter meter(folder.path());
  write_package(folder, "intel-rapl:0", 500'000, 10'000'000);
  EXPECT_DOUBLE_EQ(meter.joules().value(), 1.5);
}

TEST(EnergyMeter, NothingWithoutACounter) {
  const support::TempDir folder;
  EXPECT_FALSE(EnergyMeter(folder.path()).joules().has_value());
  EXPECT_FALSE(EnergyMeter(folder.file("missing")).joules().has_value());
  write_package(folder, "intel-rapl:0", 1, 10);
  const EnergyMeter meter(folder.path());
  std::filesystem::remove(folder.file("intel-rapl:0") + "/energy_uj");  // no longer readable
  EXPECT_FALSE(meter.joules().has_value());
}

}  // namespace
}  // namespace espalier::runtime
