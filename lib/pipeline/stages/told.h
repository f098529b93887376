// SPDX-License-Identifier: Apache-2.0
// What several stages say about a model directory that they wrote.
#pragma once
#include <filesystem>
#include <string>

#include "checkpoint/modeling.h"

namespace espalier::stages {

// A note that the directory needs trust_remote_code. Empty when it holds no modeling file of ours.
inline std::string remote_code_note(const std::string& directory) {
  std::error_code unreadable;
  if (!std::filesystem::exists(directory + "/" + checkpoint::kModelingFile, unreadable)) return "";
  return std::string("transformers does not have this family: ") + checkpoint::kModelingFile +
         " is in the directory; load it with trust_remote_code=True\n";
}

}  // namespace espalier::stages
