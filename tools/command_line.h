// SPDX-License-Identifier: Apache-2.0
// What both programs do with a command line beyond CLI11: nearest names for what is misspelt, and
// counts with a suffix.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace espalier::tool {

// Parses. Error(usage) names the verb, and the command or flag that is nearest to an unknown one,
// even where something required is missing. Other faults are CLI11's.
void parse_command_line(CLI::App& app, int argc, char** argv);

// A whole number that may have a suffix, such as 8k or 92M. `lowest` is the smallest that makes
// sense.
CLI::Validator as_count(std::int64_t lowest = 1);

}  // namespace espalier::tool
