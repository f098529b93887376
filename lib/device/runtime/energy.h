// SPDX-License-Identifier: Apache-2.0
// Energy by RAPL, which Linux shows as /sys/class/powercap/intel-rapl:N/energy_uj (Intel, and AMD
// from Zen) to those who may read it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace espalier::runtime {

// Joules that all packages used since it was made; a counter may begin anew once in between.
// Nothing where there is no counter.
class EnergyMeter {
 public:
  explicit EnergyMeter(const std::string& folder = "/sys/class/powercap");
  std::optional<double> joules() const;

 private:
  struct Package {
    std::string counter;  // file: microjoules, beginning anew at `range`
    std::uint64_t range = 0, start = 0;
  };
  std::vector<Package> packages_;
};

}  // namespace espalier::runtime
