// SPDX-License-Identifier: Apache-2.0
// What an evaluation sums up of one model, and its result. Internal to lib/pipeline/verify.
#pragma once
#include "layerwise/saved.h"
#include "verify/divergence.h"
#include "verify/evaluate.h"

namespace espalier::verify {

struct Totals {
  double nll = 0;
  std::int64_t same_top1 = 0, tokens = 0;
  std::vector<float> kl;
  std::vector<WindowLoss> windows;

  // What is added from here on belongs to the next window.
  void begin_window() { windows.emplace_back(); }
  void add(const Measured& m);
  double perplexity() const;
  void save(layerwise::Saved& out, const std::string& name) const;
  void load(const layerwise::Saved& in, const std::string& name);
  // `reference`: of the model compared with; may be null.
  EvalResult result(const Totals* reference) const;
};

}  // namespace espalier::verify
