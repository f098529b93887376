// SPDX-License-Identifier: Apache-2.0
// Files, in bytes.
#pragma once
#include "timing/work.h"

namespace espalier::timing {

Item hash(std::int64_t bytes);  // SHA-256
// To the directory of the place, until the disk has them. Guessed where the directory takes no
// files.
Item write(std::int64_t bytes, const Place& place);

}  // namespace espalier::timing
