// SPDX-License-Identifier: Apache-2.0
// The hash of a folder: names and contents of all files in it and below, in the order of names.
#pragma once
#include <string>

namespace espalier::hash {

std::string sha256_folder(const std::string& path);

}  // namespace espalier::hash
