// SPDX-License-Identifier: Apache-2.0
// Checks of what a command is about to write, before it reads or computes anything: an output is
// none of the inputs, and it can be written.
#pragma once
#include <string>
#include <vector>

namespace espalier::core {

// Whether `path` is `folder` or lies below it. Neither need exist. Links are followed.
bool lies_in(const std::string& path, const std::string& folder);
// Error(usage) when `out` names the same file or directory as one of `inputs`, or a file of a model
// directory among them. Other folders, such as those of texts, are read whole: no output may lie in
// them. Empty names are absent ones. Links are followed.
void require_not_input(const std::string& out, const std::vector<std::string>& inputs);
// Error(input) when no file can be made at `path`: something else is there, or the folder is no
// folder or not writable. Error(usage) for a directory. Makes nothing.
void require_writable_file(const std::string& path);
// The same for a directory, which may exist.
void require_writable_directory(const std::string& path);
// Makes the directory with its parents. Error(input) naming it when that fails.
void make_directory(const std::string& path);

}  // namespace espalier::core
