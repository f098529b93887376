// SPDX-License-Identifier: Apache-2.0
// What a model writes with kept keys and values is what whole forward passes give, for every golden
// model. Any number of threads writes the same.
#include "model/write_text.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/rng.h"
#include "support/golden_models.h"

namespace espalier::model {
namespace {

using checkpoint::Checkpoint;
using torch::Tensor;

constexpr std::uint64_t kSeed = 11;

Transformer loaded(const std::string& name) {
  return Transformer::load(Checkpoint::open(support::golden_model(name).directory), {});
}

// The draw of one sequence, from logits [V]: the first id at which the sum passes a share of it.
std::int64_t drawn(const Tensor& logits, std::int64_t sequence, std::int64_t position) {
  const double u = static_cast<double>(core::Rng(kSeed, static_cast<std::uint64_t>(sequence))
                                           .at(static_cast<std::uint64_t>(position)) >>
                                       11) *
                   0x1p-53;
  const Tensor p = torch::softmax(logits.to(torch::kFloat64), -1).contiguous();
  double sum = 0;
  for (std::int64_t id = 0; id < p.numel(); ++id)
    if ((sum += p.const_data_ptr<double>()[id]) > u) return id;
  return p.numel() - 1;
}

class WriteTextOf : public testing::TestWithParam<const char*> {};

TEST_P(WriteTextOf, IsWhatWholeForwardPassesGive) {
  const torch::NoGradGuard no_grad;
  const Transformer model = loaded(GetParam());
  // Longer than the windows of local layers, and so far that LongRoPE takes its long divisors.
  const std::int64_t length = std::min<std::int64_t>(24, model.dims().positions);
  constexpr std::int64_t kEnd = 5;
  const Tensor ids =
      write_text(model, {.sequences = 4, .length = length, .first = 1, .end = kEnd, .seed = kSeed});
  ASSERT_EQ(ids.sizes(), (std::vector<std::int64_t>{4, length}));
  EXPECT_TRUE(torch::equal(ids.select(1, 0), torch::ones({4}, torch::kInt64)));
  const Tensor logits = model.forward(ids);
  std::int64_t different = 0;
  for (std::int64_t s = 0; s < 4; ++s)
    for (std::int64_t t = 0; t + 1 < length; ++t) {
      const auto expected = ids[s][t].item<std::int64_t>() == kEnd ? 1 : drawn(logits[s][t], s, t);
      different += ids[s][t + 1].item<std::int64_t>() != expected;
    }
  EXPECT_EQ(different, 0);
  EXPECT_FALSE(torch::equal(ids[0], ids[1]));
}
INSTANTIATE_TEST_SUITE_P(Models, WriteTextOf, testing::ValuesIn(support::kGoldenModels),
                         [](const auto& test) { return std::string(test.param); });

TEST(WriteText, AnyNumberOfThreadsWritesTheSame) {
  const Transformer model = loaded("qwen3_a");
  const int before = at::get_num_threads();
  for (const std::int64_t sequences : {3, 70}) {
    Tensor first;
    for (const int threads : {1, 2, 3}) {
      at::set_num_threads(threads);
      const Tensor ids =
          write_text(model, {.sequences = sequences, .length = 12, .first = 1, .seed = kSeed});
      if (!first.defined()) first = ids;
      EXPECT_TRUE(torch::equal(ids, first)) << sequences << " " << threads;
    }
    // A sequence does not depend on how many there are.
    const Tensor fewer =
        write_text(model, {.sequences = 2, .length = 12, .first = 1, .seed = kSeed});
    EXPECT_TRUE(torch::equal(fewer, first.narrow(0, 0, 2)));
  }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace espalier::model
