// SPDX-License-Identifier: Apache-2.0
// Which Espalier this is. The number is the project's version in CMakeLists.txt, its only source.
// The description is what git says of the sources at build time; a build outside git has none.
#pragma once
#include <string>

namespace espalier::version {

const char* number();       // "0.1.0"
const char* description();  // git describe --always --dirty: "1a2b3c4-dirty"; "" outside git
std::string full();         // "0.1.0 (1a2b3c4-dirty)", or "0.1.0"

}  // namespace espalier::version
