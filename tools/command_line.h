// SPDX-License-Identifier: Apache-2.0
// What both programs do with a command line beyond CLI11: messages and exit codes, and nearest
// names for what is misspelt.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace espalier::tool {

// Adds --progress-file. run_command_line() then writes how the program ends into that file too.
void add_progress_file(CLI::App& verb);

// Adds --seed.
void add_seed(CLI::App& verb, std::uint64_t& seed);
// Refuses what is no finite number from `low` to `high`, or no whole one in decimal digits, and
// says what is expected.
CLI::Validator number_between(double low, double high);
CLI::Validator whole_number(std::uint64_t low = 0, std::uint64_t high = INT64_MAX);
// Adds --pre, for files that do not name their pre-tokenizer.
void add_pre(CLI::App& verb);

// Parses, runs the verb and ends its results. What goes wrong becomes a message on standard error.
// Returns the exit code. `model`: the file to name when memory runs out; null where a program may
// need memory for more than one.
int run_command_line(CLI::App& app, int argc, char** argv, const std::string* model = nullptr);

}  // namespace espalier::tool
