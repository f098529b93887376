// SPDX-License-Identifier: Apache-2.0
// A GGUF on the device runtime, as a model of an evaluation. Internal to lib/pipeline/verify.
#pragma once
#include <torch/types.h>

#include <algorithm>
#include <string>
#include <utility>

#include "runtime/perplexity.h"

namespace espalier::verify {

class DeviceModel {
 public:
  // whole: all weights stay in memory. Otherwise one layer at a time is loaded.
  DeviceModel(const std::string& path, std::int64_t context, int threads, bool whole)
      : session_(path, {.threads = threads,
                        .context = context,
                        .isa = "",
                        .kv = runtime::SessionOptions::KvType::f16,
                        .packed_file = false,
                        .layer_by_layer = !whole}) {}
  // Calls take(row, logits [n, V]) for rows from first_scored on, except the last position, which
  // predicts nothing scored; `rows` at a time. The session checks that logits are finite.
  template <typename Take>
  void run(const runtime::PerplexityWindow& window, std::int64_t rows, Take&& take) {
    session_.reset();
    const std::int64_t n = static_cast<std::int64_t>(window.tokens.size()) - 1,
                       vocab = session_.dims().vocab;
    const torch::Tensor buffer = torch::empty({std::min(rows, n), vocab});
    std::int64_t filled = 0, first = window.first_scored;
    session_.prefill_scored(
        window.tokens, window.first_scored, [&](std::int64_t index, std::span<const float> logits) {
          if (index >= n) return;
          std::copy(logits.begin(), logits.end(), buffer.data_ptr<float>() + filled * vocab);
          if (++filled < std::min(rows, n - first)) return;
          take(first, buffer.narrow(0, 0, filled));
          first += std::exchange(filled, 0);
        });
  }

 private:
  runtime::Session session_;
};

}  // namespace espalier::verify
