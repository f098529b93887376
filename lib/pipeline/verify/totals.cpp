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

void Totals::save(layerwise::Saved& out, const std::string& name) const {
  out.about[name] = {{"tokens", tokens}, {"same_top1", same_top1}};
  out.tensors[name + ".nll"] = torch::tensor({nll}, torch::kFloat64);
  out.tensors[name + ".kl"] = torch::tensor(kl, torch::kFloat32);
}

void Totals::load(const layerwise::Saved& in, const std::string& name) {
  tokens = in.about.at(name).at("tokens").get<std::int64_t>();
  same_top1 = in.about.at(name).at("same_top1").get<std::int64_t>();
  nll = in.tensors.at(name + ".nll").item<double>();
  const torch::Tensor& values = in.tensors.at(name + ".kl");
  kl.assign(values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel());
}

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
