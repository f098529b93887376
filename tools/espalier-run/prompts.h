// SPDX-License-Identifier: Apache-2.0
// Prompts from files, which may be pipes. They are texts like all others (docs/text.md).
#pragma once
#include <string>
#include <vector>

namespace espalier::tool {

// A whole file is one prompt. One line break at its end is dropped, as llama.cpp does.
std::string read_prompt_file(const std::string& path);

// A line is a prompt, as it stands. In a file whose name ends in .jsonl it is a JSON string, which
// may hold line breaks, or {"prompt": "..."}. Empty lines are skipped. Error(input) naming the
// line.
std::vector<std::string> read_prompts(const std::string& path);

}  // namespace espalier::tool
