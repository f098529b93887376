// SPDX-License-Identifier: Apache-2.0
// Times, speeds and named numbers as people read them. Files for machines have all digits.
#pragma once
#include <string>
#include <string_view>

namespace espalier::core {

// "0.35s", "4.2s", "48s", "6m50s", "2h05m", "3d04h". "-" for what is no time.
std::string human_duration(double seconds);
// "1.2k tokens/s", "3.4 layers/s", "12 layers/min", "5.0 windows/h": the unit of time is the first
// of the three in which there is at least one. "-" for what is no speed.
std::string human_rate(double per_second, std::string_view unit);
// The value of a key of a card, a manifest or a gate, by what the key says of its unit: "70.0 MB"
// for file_bytes_max, "95.0M" for parameters, "6m50s" for seconds, else as number() has it.
std::string human_value(std::string_view key, double value);
// A value and its limit, with all digits where people would see the same text of both.
struct HumanPair {
  std::string value, limit;
};
HumanPair human_values(std::string_view key, double value, double limit);

}  // namespace espalier::core
