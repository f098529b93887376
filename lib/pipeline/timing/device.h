// SPDX-License-Identifier: Apache-2.0
// The device runtime. Its matrices are timed, in a form that all of them are taken to have; what
// attention adds is estimated.
#pragma once
#include "format/quant_format.h"
#include "timing/work.h"

namespace espalier::timing {

// Reading text without the output matrix. isa: "" for the best, "reference" for the definition.
Item prefill(const Model& model, format::FormatId format, const Text& text, const std::string& isa,
             const Place& place);
// The output matrix for each token.
Item device_output(const arch::ModelDims& dims, format::FormatId format, std::int64_t tokens,
                   const std::string& isa, const Place& place);
// Writing tokens one by one. bytes: of the weights that one token reads.
Item write_tokens(std::int64_t tokens, std::int64_t bytes, format::FormatId format,
                  const Place& place);

}  // namespace espalier::timing
