// SPDX-License-Identifier: Apache-2.0
// Reads the RAPL counters of all packages.
#include "runtime/energy.h"

#include <filesystem>
#include <fstream>

namespace espalier::runtime {
namespace {

namespace fs = std::filesystem;

std::optional<std::uint64_t> number_in(const std::string& file) {
  std::ifstream in(file);
  std::uint64_t value = 0;
  if (!(in >> value)) return std::nullopt;
  return value;
}

}  // namespace

EnergyMeter::EnergyMeter(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    // "intel-rapl:0" is a package. "intel-rapl:0:0" is a part of it.
    if (!name.starts_with("intel-rapl:") || name.find(':') != name.rfind(':')) continue;
    const std::string counter = (entry.path() / "energy_uj").string();
    const auto range = number_in((entry.path() / "max_energy_range_uj").string()),
               start = number_in(counter);
    if (range && start) packages_.push_back({counter, *range, *start});
  }
}

std::optional<double> EnergyMeter::joules() const {
  if (packages_.empty()) return std::nullopt;
  double sum = 0;
  for (const Package& package : packages_) {
    const auto now = number_in(package.counter);
    if (!now) return std::nullopt;
    const std::uint64_t used =
        *now >= package.start ? *now - package.start : package.range - package.start + *now;
    sum += static_cast<double>(used) * 1e-6;
  }
  return sum;
}

}  // namespace espalier::runtime
