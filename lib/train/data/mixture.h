// SPDX-License-Identifier: Apache-2.0
// Several texts with weights, as calibration reads them. Each text gives windows in proportion to
// its weight, drawn with the seed as from a text alone. Window k comes from the text that is
// furthest behind its share of k + 1 windows, so every run of windows is mixed.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/corpus.h"

namespace espalier::data {

struct Share {
  std::string path;
  double weight = 1;
  std::shared_ptr<const Corpus> read = {};  // instead of the file
};

struct Mixture {
  std::vector<Corpus> corpora;  // at least one
  std::vector<double> weights;  // above 0, one for each

  Mixture(std::vector<Corpus> of, std::vector<double> with)
      : corpora(std::move(of)), weights(std::move(with)) {}
  Mixture(Corpus alone) : corpora{std::move(alone)}, weights{1} {}  // a text alone is a mixture

  // "a.txt:2 b.txt:1", and a hash of weights and texts. Of a text alone: its path and hash.
  std::string path() const;
  std::string sha256() const;
};
Mixture load_mixture(const std::vector<Share>& shares, const text::Tokenizer& tokenizer,
                     const core::Progress& progress = {}, const text::Reading& reading = {});

// As for a text alone (corpus.h). A text that has no more windows gives those that it has, which is
// noted. Error(usage) for a weight that gives no window at all.
std::vector<std::int64_t> calibration_ids(const Mixture& mixture,
                                          const text::CalibrationOptions& options,
                                          std::int64_t vocab);
// Throws Error(check_failed) when any of the texts overlaps the held-out one.
void require_disjoint(const Mixture& mixture, const Corpus& held_out,
                      const text::Tokenizer& tokenizer);

}  // namespace espalier::data
