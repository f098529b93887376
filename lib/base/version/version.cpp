// SPDX-License-Identifier: Apache-2.0
// description() is in git_version.cpp, which the build writes (cmake/GitVersion.cmake).
#include "version/version.h"

namespace espalier::version {

const char* number() { return ESPALIER_VERSION; }

std::string full() {
  const std::string git = description();
  return git.empty() ? number() : std::string(number()) + " (" + git + ")";
}

}  // namespace espalier::version
