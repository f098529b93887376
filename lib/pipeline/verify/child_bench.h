// SPDX-License-Identifier: Apache-2.0
// Speed, memory and ISA from a child process of espalier-run, so that memory of this process does
// not count. Internal to lib/pipeline/verify.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace espalier::verify {

// The JSON of `program bench gguf --json`: a prompt of 512 tokens and 128 written ones, or as many
// as the model has positions. Error(internal) with the child's message when it fails.
nlohmann::ordered_json child_bench(const std::string& program, const std::string& gguf,
                                   int threads);
std::string cpu_name();  // from /proc/cpuinfo; "unknown" when it is not there

}  // namespace espalier::verify
