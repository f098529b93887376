// SPDX-License-Identifier: Apache-2.0
#include "support/shared_files.h"

#include <cstdlib>

namespace espalier::support {

std::string shared_file(const std::string& name) {
  const char* folder = std::getenv("ESPALIER_SHARED");
  return (folder != nullptr ? std::string(folder) : std::string(ESPALIER_SOURCE_DIR "/../shared")) +
         "/" + name;
}
std::string teacher_file() {
  const char* path = std::getenv("ESPALIER_TEACHER");
  return path != nullptr ? path : "";
}
bool skipping_is_refused() { return std::getenv("ESPALIER_NO_SKIP") != nullptr; }

}  // namespace espalier::support
