// SPDX-License-Identifier: Apache-2.0
// The memory of an evaluation: predicted from sizes alone, and divided so that it stays below a
// limit.
#pragma once
#include <cstdint>
#include <span>

#include "arch/arch.h"

namespace espalier::verify {

// LibTorch on dequantized weights, or the device runtime.
enum class Engine : std::uint8_t { training, device };

// A card measures parity on at most so many tokens.
inline constexpr std::int64_t kParityTokens = 192;

struct ModelSize {
  const arch::Arch* arch = nullptr;
  arch::ModelDims dims;
  Engine engine = Engine::training;
  std::int64_t file_bytes = 0;  // of the device engine
};

// What may be more or less. Results do not depend on it, but for the rounding of an output matrix
// that is read in blocks.
struct MemoryBudget {
  // The device engine keeps all weights in memory. Otherwise it loads one layer at a time.
  bool device_whole = true;
  // An output matrix of at most so many bytes as float32 stays in memory.
  std::int64_t output_bytes = std::int64_t{1} << 30;
  // States of the windows that go through the models at a time, of all training models together.
  std::int64_t buffer_bytes = std::int64_t{512} << 20;
};

bool keeps_output(const arch::ModelDims& dims, const MemoryBudget& budget);
// The number of windows that go through the models at a time; at least one.
std::int64_t chunk_windows(std::span<const ModelSize> models, std::int64_t context,
                           const MemoryBudget& budget);
// Models of one evaluation, the reference among them. `windows` 0: as many as the buffer holds.
// `parity_tokens` 0: no parity is measured.
std::int64_t peak_memory(std::span<const ModelSize> models, std::int64_t context,
                         std::int64_t windows, std::int64_t parity_tokens,
                         const MemoryBudget& budget);
// The largest buffer that keeps the peak below `limit`; without one (0), the default. What costs
// least time is given up first: the output matrix in memory, then all weights of the device
// engine. Error(unsupported) when one window at a time is too much.
MemoryBudget budget_within(std::int64_t limit, std::span<const ModelSize> models,
                           std::int64_t context, std::int64_t parity_tokens);

}  // namespace espalier::verify
