// SPDX-License-Identifier: Apache-2.0
// Sizes: parsed as users write them ("92M", "60MB", "1.5GiB") and formatted as we print them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace espalier::core {

// Counts take a suffix k, M, G or T (powers of 1000). Bytes also take kB, MB, GB (powers of 1000)
// and KiB, MiB, GiB (powers of 1024). Error(usage) naming `what` for any other text.
std::int64_t parse_count(std::string_view text, std::string_view what);
std::int64_t parse_bytes(std::string_view text, std::string_view what);
std::string human_bytes(std::int64_t bytes);  // "60.1 MB"
std::string human_count(std::int64_t count);  // "94.7M"
// Five digits, for people. Files for machines have all digits.
std::string number(double value);
std::int64_t peak_rss_bytes();  // VmHWM of this process
// The candidate nearest to `name` by edit distance, for "did you mean". Empty when none is close.
std::string nearest_name(std::string_view name, const std::string* candidates, std::size_t n);

}  // namespace espalier::core
