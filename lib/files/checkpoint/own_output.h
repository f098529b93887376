// SPDX-License-Identifier: Apache-2.0
// A checkpoint may store an output matrix although its config says that the embedding is the output
// matrix. Some tools save a copy. Others save a head that was trained separately.
#pragma once
#include "format/safetensors.h"

namespace espalier::checkpoint {

// Whether two tensors have the same shape and the same values, in any dtypes. Reads both in
// windows, up to the first difference.
bool same_values(const format::SafetensorsSet& set, const format::SafeTensor& a,
                 const format::SafeTensor& b);

}  // namespace espalier::checkpoint
