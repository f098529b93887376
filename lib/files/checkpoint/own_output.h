// SPDX-License-Identifier: Apache-2.0
// A checkpoint whose config says that the output matrix is the embedding, and that stores an output
// matrix all the same. Some tools save a copy; others save a head that was trained by itself.
#pragma once
#include "format/safetensors.h"

namespace espalier::checkpoint {

// Same shape and the same values, whatever the dtypes. Reads both in windows, up to the first
// difference.
bool same_values(const format::SafetensorsSet& set, const format::SafeTensor& a,
                 const format::SafeTensor& b);

}  // namespace espalier::checkpoint
