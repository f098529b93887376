// SPDX-License-Identifier: Apache-2.0
// Rounding of matrices to block formats, and reading them.
#pragma once
#include "format/quant_format.h"
#include "quant/rounding.h"
#include "timing/work.h"

namespace espalier::timing {

// All rows of a matrix. With gptq, matrices that read the same input share one factorization, which
// is not in it: factorize().
Item round(std::int64_t rows, std::int64_t cols, format::FormatId format, quant::Rounding rounding,
           const Place& place);
// The second moments of n inputs, for gptq.
Item factorize(std::int64_t n, const Place& place);
// Decodes values of a stored matrix, by one thread.
Item decode(std::int64_t values, format::FormatId format);

}  // namespace espalier::timing
