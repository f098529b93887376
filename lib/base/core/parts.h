// SPDX-License-Identifier: Apache-2.0
// Names of files that belong to another: the parts of a split model, and temporary files beside a
// result.
//
// A split model is NAME-00001-of-00003.gguf, NAME-00002-of-00003.gguf and so on, in one folder.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace espalier::core {

struct PartName {
  std::string prefix;     // with the folder
  int index = 0, of = 1;  // from 0
};
// What the name of a file says. Nothing for a name of another form.
std::optional<PartName> part_name(const std::string& path);
// Error(usage) where a name cannot count so many.
std::string part_path(const std::string& prefix, int index, int of);
// Of the first part: it and those of its parts that are there. Of another file: the file alone.
std::vector<std::string> with_parts(const std::string& path);
// Bytes of all of them.
std::uint64_t bytes_with_parts(const std::string& path);

// `path` with an ending of at most 64 bytes. A name that is too long for the file system is
// replaced by a short one, which depends on the name and the ending alone.
std::string beside(const std::string& path, const std::string& ending);

}  // namespace espalier::core
