// SPDX-License-Identifier: Apache-2.0
// Keys of a split model (gguf_files.h). Private to lib/base/format.
#pragma once
#include <cstdint>

namespace espalier::format {

inline constexpr const char *kSplitIndex = "split.no", *kSplitCount = "split.count",
                            *kSplitTensors = "split.tensors.count";
// Ours, in every part: a number that parts of one file share, made from all that describes it.
inline constexpr const char* kSplitOf = "espalier.split.of";
// Files that are open at the same time.
inline constexpr std::int64_t kMostParts = 500;

}  // namespace espalier::format
