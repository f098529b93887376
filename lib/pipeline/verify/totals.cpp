// SPDX-License-Identifier: Apache-2.0
// Sums over scored tokens, in the order of the text.
#include "verify/totals.h"

#include <algorithm>
#include <cmath>

namespace espalier::verify {

constexpr std::int64_t kOfWindow = 4;  // numbers of a window in a saved state

void Totals::add(const Measured& m) {
  WindowLoss& window = windows.back();
  for (double v : m.nll) nll += v;
  for (double v : m.nll) window.nll += v;
  for (float v : m.kl) window.kl += v;
  window.tokens += static_cast<std::int64_t>(m.nll.size());
  window.same_top1 += m.same_top1;
  tokens += static_cast<std::int64_t>(m.nll.size());
  same_top1 += m.same_top1;
  kl.insert(kl.end(), m.kl.begin(), m.kl.end());
}

double Totals::perplexity() const { return std::exp(nll / static_cast<double>(tokens)); }

void Totals::save(layerwise::Saved& out, const std::string& name) const {
  out.about[name] = {{"tokens", tokens}, {"same_top1", same_top1}};
  out.tensors[name + ".nll"] = torch::tensor({nll}, torch::kFloat64);
  out.tensors[name + ".kl"] = torch::tensor(kl, torch::kFloat32);
  std::vector<double> values;
  for (const WindowLoss& w : windows)
    values.insert(values.end(),
                  {static_cast<double>(w.tokens), static_cast<double>(w.same_top1), w.nll, w.kl});
  out.tensors[name + ".windows"] = torch::tensor(values, torch::kFloat64).view({-1, kOfWindow});
}

void Totals::load(const layerwise::Saved& in, const std::string& name) {
  tokens = in.about.at(name).at("tokens").get<std::int64_t>();
  same_top1 = in.about.at(name).at("same_top1").get<std::int64_t>();
  nll = in.tensors.at(name + ".nll").item<double>();
  const torch::Tensor& values = in.tensors.at(name + ".kl");
  kl.assign(values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel());
  const torch::Tensor& rows = in.tensors.at(name + ".windows");
  const double* row = rows.const_data_ptr<double>();
  for (std::int64_t w = 0; w < rows.numel() / kOfWindow; ++w, row += kOfWindow)
    windows.push_back(
        {static_cast<std::int64_t>(row[0]), static_cast<std::int64_t>(row[1]), row[2], row[3]});
}

EvalResult Totals::result(const Totals* reference) const {
  EvalResult r;
  r.tokens = tokens;
  r.perplexity = perplexity();
  r.windows = windows;
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
