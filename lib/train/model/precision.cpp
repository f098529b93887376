// SPDX-License-Identifier: Apache-2.0
// Looks at the processor, and at the code that LibTorch has chosen for it.
#include "model/precision.h"

#include <ATen/Version.h>

#include "core/error.h"
#include "model/device.h"

namespace espalier::model {
namespace {

// Every processor with AMX has AVX512_BF16 too. Without either, bfloat16 products are several times
// slower than float32 products. So they are where LibTorch was told to do without AVX-512.
bool multiplies_bfloat16() {
  if (!training_device().is_cpu()) return false;
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") && at::get_cpu_capability() == "AVX512";
#else
  return false;
#endif
}

}  // namespace

std::string matmul_precision(const std::string& precision) {
  if (precision == "auto") return multiplies_bfloat16() ? "bfloat16" : "float32";
  ESP_CHECK(precision == "float32" || precision == "bfloat16", usage, "precision '", precision,
            "': expected auto, float32 or bfloat16");
  return precision;
}

}  // namespace espalier::model
