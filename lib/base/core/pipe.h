// SPDX-License-Identifier: Apache-2.0
// Inputs that can be read only once, such as a pipe or a process substitution.
#pragma once
#include <string>

namespace espalier::core {

// A path under which the content of `path` can be read as a regular file, as often as wanted, until
// this process ends: `path` itself where that is so already, where it is a directory, or where
// nothing is there. What a pipe gives is kept in memory. Error(input) when it cannot be read.
std::string readable_again(const std::string& path);

}  // namespace espalier::core
