// SPDX-License-Identifier: Apache-2.0
// Sums over scored tokens, in the order of the text.
#include "verify/totals.h"

#include <algorithm>
#include <cmath>

namespace espalier::verify {

void Totals::add(const Measured& m) {
  for (double v : m.nll) nll += v;
  tokens += static_cast<std::int64_t>(m.nll.size());
  same_top1 += m.same_top1;
  kl.insert(kl.end(), m.kl.begin(), m.kl.end());
}

double Totals::perplexity() const { return std::exp(nll / static_cast<double>(tokens)); }

EvalResult Totals::result(const Totals* reference) const {
  EvalResult r;
  r.tokens = tokens;
  r.perplexity = perplexity();
  if (reference == nullptr) return r;
  r.has_divergence = true;
  r.against_perplexity = reference->perplexity();
  r.same_top1 = static_cast<double>(same_top1) / static_cast<double>(tokens);
  r.kl_per_token = kl;
  double sum = 0;
  for (float v : kl) sum += v;
  r.kl_mean = sum / static_cast<double>(tokens);
  std::vector<float> sorted = kl;
  const std::size_t at = std::min(
      sorted.size() - 1, static_cast<std::size_t>(0.99 * static_cast<double>(sorted.size())));
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(at), sorted.end());
  r.kl_p99 = sorted[at];
  return r;
}

}  // namespace espalier::verify
