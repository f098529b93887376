// SPDX-License-Identifier: Apache-2.0
// Reads imatrix.dat, the format of llama-imatrix before August 2025 (imatrix.h draws it).
#pragma once
#include <map>
#include <string>

#include "arch/arch.h"
#include "core/file.h"
#include "quant/imatrix.h"

namespace espalier::quant {

using Matrices = std::map<std::string, arch::TensorRef>;  // of a model, by their names in GGUF

Imatrix read_imatrix_dat(const core::FileReader& file, const Matrices& matrices);

}  // namespace espalier::quant
