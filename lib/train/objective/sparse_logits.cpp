// SPDX-License-Identifier: Apache-2.0
// Finds the k largest logits block by block. The k largest of all are the k largest among those
// found so far and those of the next block. Logits that drop out are added to the rest.
#include "objective/sparse_logits.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/error.h"

namespace espalier::objective {
namespace {

using torch::Tensor;
constexpr std::int64_t kVocabBlock = 8192, kTokenBlock = 512;  // logits that exist at a time: 16 MB
constexpr double kNone = -std::numeric_limits<double>::infinity();

// The state of some tokens over the blocks read so far.
struct Running {
  Tensor values;       // [rows, <= k]
  Tensor ids;          // int32, like values
  Tensor rest;         // float64 [rows]: log of the sum of exp(logit) of all others
  std::int64_t begin;  // row of the first token
};

Tensor log_sum(const Tensor& x) { return torch::logsumexp(x.to(torch::kFloat64), -1); }

void take_block(Running& running, Tensor& logits, std::int64_t first_id, std::int64_t k) {
  const std::int64_t count = logits.size(1), best = std::min(k, count);
  const auto [top, place] = logits.topk(best, -1, true, false);
  Tensor values = torch::cat({running.values, top}, 1),
         ids = torch::cat({running.ids, (place + first_id).to(torch::kInt32)}, 1);
  if (best < count)
    running.rest = torch::logaddexp(
        running.rest, torch::logsumexp(logits.scatter_(1, place, kNone), -1).to(torch::kFloat64));
  if (values.size(1) > k) {
    const auto [kept, at] = values.topk(k, -1, true, false);
    running.rest = torch::logaddexp(running.rest, log_sum(values.scatter_(1, at, kNone)));
    values = kept;
    ids = ids.gather(1, at);
  }
  running.values = values;
  running.ids = ids;
}

}  // namespace

SparseLogits top_logits(const model::Transformer& model, const Tensor& hidden, std::int64_t k,
                        double temperature, std::int64_t batch) {
  torch::NoGradGuard no_grad;
  const std::int64_t n = hidden.size(0), V = model.dims().vocab;
  ESP_CHECK(k >= 1 && k <= V, internal, "the ", k, " likeliest of ", V, " tokens");
  const double cap = model.dims().logit_softcap;
  const arch::Role output = model.dims().tied ? arch::Role::token_embd : arch::Role::output;
  std::vector<Running> all;
  for (std::int64_t begin = 0; begin < n;) {
    const std::int64_t rows = std::min({kTokenBlock, n - begin, batch - begin % batch});
    all.push_back({torch::empty({rows, 0}), torch::empty({rows, 0}, torch::kInt32),
                   torch::full({rows}, kNone, torch::kFloat64), begin});
    begin += rows;
  }
  for (std::int64_t first = 0; first < V; first += kVocabBlock) {
    const Tensor weights = model.rows(output, -1, first, std::min(kVocabBlock, V - first)).t();
    for (Running& running : all) {
      Tensor logits = at::mm(hidden.narrow(0, running.begin, running.rest.size(0)), weights);
      if (cap > 0) logits.div_(cap).tanh_().mul_(cap);
      if (temperature != 1.0) logits.div_(temperature);
      take_block(running, logits, first, k);
    }
  }
  SparseLogits out{torch::empty({n, k}, torch::kInt32), torch::empty({n, k}), torch::empty({n})};
  for (Running& running : all) {
    const std::int64_t rows = running.rest.size(0), begin = running.begin;
    const Tensor values = running.values.to(torch::kFloat64),
                 total = torch::logaddexp(torch::logsumexp(values, -1), running.rest);
    ESP_CHECK(torch::isfinite(total).all().item<bool>(), input,
              "the teacher's logits are not finite, although its weights are: activations of this "
              "text exceed the range of float32");
    const auto [ids, order] = running.ids.sort(1);
    out.ids.narrow(0, begin, rows).copy_(ids);
    out.log_probabilities.narrow(0, begin, rows)
        .copy_((values - total.unsqueeze(1)).gather(1, order).clamp_max(0.0));
    out.rest.narrow(0, begin, rows).copy_((running.rest - total).exp());
    running = {};
  }
  return out;
}

}  // namespace espalier::objective
