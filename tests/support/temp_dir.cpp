// SPDX-License-Identifier: Apache-2.0
#include "support/temp_dir.h"

#include <cstdlib>
#include <filesystem>

#include "core/error.h"

namespace espalier::support {

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "espalier-test-XXXXXX").string();
  ESP_CHECK(::mkdtemp(pattern.data()) != nullptr, internal, "cannot make a temporary directory");
  path_ = pattern;
}
TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace espalier::support
