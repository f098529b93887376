// SPDX-License-Identifier: Apache-2.0
// Energy by RAPL. Linux shows it to permitted users as /sys/class/powercap/intel-rapl:N/energy_uj
// (Intel, and AMD from Zen).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace espalier::runtime {

// The joules that all packages used since construction. A counter may wrap around once in between.
// No value where there is no counter.
class EnergyMeter {
 public:
  explicit EnergyMeter(const std::string& folder = "/sys/class/powercap");
  std::optional<double> joules() const;

 private:
  struct Package {
    std::string counter;  // a file with microjoules that wraps around at `range`
    std::uint64_t range = 0, start = 0;
  };
  std::vector<Package> packages_;
};

}  // namespace espalier::runtime
