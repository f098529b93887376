#include "calibrate/windows.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::calibrate {

using torch::Tensor;

Tensor draw_windows(const data::Corpus& corpus, const CalibrateOptions& options, std::int64_t vocab) {
  const auto available = static_cast<std::int64_t>(corpus.tokens.size());
  ESP_CHECK(options.sequence >= 1 && options.tokens >= 1, usage, "calibration: tokens and sequence must be positive");
  const std::int64_t n = std::min(options.tokens, available) / options.sequence;
  ESP_CHECK(n >= 1, input, corpus.path, ": calibration needs at least one window of ", options.sequence, " tokens within ", options.tokens,
            ", the text has ", available);
  const data::WindowSampler sampler(available, options.sequence, options.seed);
  Tensor out = torch::empty({n, options.sequence}, torch::kInt64);
  auto* ids = out.data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t t = 0; t < options.sequence; ++t) {
      const std::int64_t id = corpus.tokens[static_cast<std::size_t>(sampler.start(i) + t)];
      ESP_CHECK(id >= 0 && id < vocab, input, corpus.path, ": token id ", id, " is outside the model's vocabulary of ", vocab,
                "; the text was tokenized for another model");
      ids[i * options.sequence + t] = id;
    }
  return out;
}

std::vector<Tensor> split_batches(const Tensor& windows) {
  constexpr std::int64_t kBatchTokens = 4096;
  return windows.split(std::max<std::int64_t>(1, kBatchTokens / windows.size(1)));
}

}  // namespace espalier::calibrate
