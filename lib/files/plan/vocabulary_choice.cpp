// SPDX-License-Identifier: Apache-2.0
// Counts tokens, and takes them in order until the target is met.
#include "plan/vocabulary_choice.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "checkpoint/vocabulary.h"
#include "core/error.h"
#include "text/merge_chain.h"
#include "text/vocabulary.h"

namespace espalier::plan {
namespace {

// Tokens that are taken so far, each with its chain.
class Taken {
 public:
  Taken(const text::TokenizerData& data, const std::vector<std::int64_t>& counts, std::int64_t rows)
      : counts_(counts),
        ids_(text::index_tokens(data, "tokenizer")),
        chains_(data, ids_),
        taken_(static_cast<std::size_t>(rows), false) {}

  bool has(std::int64_t id) const { return taken_[static_cast<std::size_t>(id)]; }
  std::int64_t size() const { return size_; }
  std::int64_t covered() const { return covered_; }
  // False, and nothing is taken, when the token and its chain are more than `most` tokens.
  bool take(std::int64_t id, std::int64_t most) {
    wanted_.assign(1, id);
    if (id < static_cast<std::int64_t>(ids_.size()))
      for (const std::int32_t part : chains_.of(static_cast<std::int32_t>(id)))
        wanted_.push_back(part);
    std::sort(wanted_.begin(), wanted_.end());
    wanted_.erase(std::unique(wanted_.begin(), wanted_.end()), wanted_.end());
    std::erase_if(wanted_, [&](std::int64_t part) { return has(part); });
    if (static_cast<std::int64_t>(wanted_.size()) > most) return false;
    for (const std::int64_t part : wanted_) {
      taken_[static_cast<std::size_t>(part)] = true;
      ++size_;
      covered_ += counts_[static_cast<std::size_t>(part)];
    }
    return true;
  }
  std::vector<std::int64_t> sorted() const {
    std::vector<std::int64_t> out;
    for (std::size_t i = 0; i < taken_.size(); ++i)
      if (taken_[i]) out.push_back(static_cast<std::int64_t>(i));
    return out;
  }
  // Whether merging reaches the token. Nothing merges in a unigram vocabulary.
  bool can_be_made(std::int32_t id) { return !chains_.of(id).empty(); }

 private:
  const std::vector<std::int64_t>& counts_;
  const text::TokenIds ids_;
  text::MergeChains chains_;
  std::vector<bool> taken_;
  std::vector<std::int64_t> wanted_;
  std::int64_t size_ = 0, covered_ = 0;
};

// Of tokens that the text does not use: those that some text can have come first.
int class_of(const text::TokenizerData& data, std::int64_t id, Taken& taken) {
  if (id >= static_cast<std::int64_t>(data.tokens.size())) return 3;  // a padding row
  if (data.types[static_cast<std::size_t>(id)] == text::TokenType::unused) return 2;
  if (data.kind == text::TokenizerKind::unigram) return 0;
  return taken.can_be_made(static_cast<std::int32_t>(id)) ? 0 : 1;
}

// All ids, in the order in which they are taken.
std::vector<std::int64_t> order_of(const text::TokenizerData& data,
                                   const std::vector<std::int64_t>& counts, Taken& taken) {
  const auto at = [](std::int64_t id) { return static_cast<std::size_t>(id); };
  std::vector<std::int64_t> order(counts.size());
  std::iota(order.begin(), order.end(), 0);
  std::vector<int> classes(counts.size(), 0);
  for (const std::int64_t id : order)
    if (counts[at(id)] == 0) classes[at(id)] = class_of(data, id, taken);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    if (counts[at(a)] != counts[at(b)]) return counts[at(a)] > counts[at(b)];
    return classes[at(a)] < classes[at(b)];
  });
  return order;
}

void check_target(const VocabularyTarget& target, std::int64_t rows, std::int64_t needed,
                  std::int64_t tokens) {
  if (target.size) {
    ESP_CHECK(*target.size <= rows, usage, "vocab ", *target.size, ": the source has only ", rows);
    ESP_CHECK(*target.size >= needed, usage, "vocab ", *target.size, ": at least ", needed,
              " tokens stay in any case: bytes, special and added tokens, those that the chat "
              "template writes, and what these are merged from; give ",
              needed, " or more");
    return;
  }
  ESP_CHECK(*target.coverage > 0 && *target.coverage <= 1, usage, "vocab_coverage ",
            *target.coverage, ": expected a share of the text's tokens, above 0 and at most 1");
  ESP_CHECK(tokens > 0, input, "vocab_coverage: the text has no tokens");
}

}  // namespace

std::vector<std::int64_t> count_tokens(const text::TokenizerData& data,
                                       const text::Documents& documents,
                                       const text::Reading& reading) {
  const text::Tokenizer tokenizer(data);
  std::vector<std::int64_t> counts(data.tokens.size(), 0);
  for (const std::string& document : documents.texts)
    for (const std::int32_t id : tokenizer.encode(document, false, reading.control_tokens))
      ++counts[static_cast<std::size_t>(id)];
  return counts;
}

VocabularyChoice choose_vocabulary(const text::TokenizerData& data,
                                   const std::vector<std::int64_t>& named,
                                   const std::vector<std::int64_t>& counts_by_id, std::int64_t rows,
                                   const VocabularyTarget& target) {
  std::vector<std::int64_t> counts = counts_by_id;
  counts.resize(static_cast<std::size_t>(rows), 0);
  VocabularyChoice out;
  out.tokens = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  Taken taken(data, counts, rows);
  for (const std::int64_t id : needed_tokens(data, named)) {
    ESP_CHECK(id < rows, input, "token ", id, " has no row in the embedding of ", rows);
    taken.take(id, rows);
  }
  out.needed = taken.size();
  check_target(target, rows, out.needed, out.tokens);
  const std::int64_t most = target.size.value_or(rows);
  const auto met = [&] {
    if (target.size) return taken.size() == most;
    return static_cast<double>(taken.covered()) >=
           *target.coverage * static_cast<double>(out.tokens);
  };
  for (const std::int64_t id : order_of(data, counts, taken)) {
    if (met()) break;
    if (!taken.has(id)) taken.take(id, most - taken.size());
  }
  out.keep = taken.sorted();
  out.covered = taken.covered();
  return out;
}

namespace {

// Every text at its weight. None shrinks, so that no token that occurs is lost.
std::vector<std::int64_t> count_weighted(const text::TokenizerData& data,
                                         const std::vector<CountedText>& texts,
                                         const text::Reading& reading) {
  std::vector<std::vector<std::int64_t>> counts;
  std::vector<double> scales;  // so that a text's tokens are its weight
  for (const CountedText& text : texts) {
    const text::Documents documents = text::read_documents(text.path);
    ESP_CHECK(!documents.empty(), input, text.path, ": the text is empty");
    counts.push_back(count_tokens(data, documents, reading));
    const auto total = std::accumulate(counts.back().begin(), counts.back().end(), std::int64_t{0});
    scales.push_back(text.weight / static_cast<double>(std::max<std::int64_t>(total, 1)));
  }
  if (counts.size() == 1) return counts.front();
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double scale = scales[i] / *std::min_element(scales.begin(), scales.end());
    out.resize(std::max(out.size(), counts[i].size()));
    for (std::size_t id = 0; id < counts[i].size(); ++id)
      out[id] += std::llround(scale * static_cast<double>(counts[i][id]));
  }
  return out;
}

}  // namespace

VocabularyChoice choose_vocabulary(const checkpoint::Checkpoint& source,
                                   const std::vector<CountedText>& texts,
                                   const text::Reading& reading, const VocabularyTarget& target) {
  const text::TokenizerData& data = source.tokenizer();
  const std::int64_t rows = source.dims().vocab;
  const std::vector<std::int64_t> counts = count_weighted(data, texts, reading);
  std::vector<std::int64_t> named =
      checkpoint::token_ids_of(source.hf_config(), source.path() + ": config.json");
  for (const std::int64_t id : checkpoint::token_ids_of(source.hf_generation_config(),
                                                        source.path() + ": generation_config.json"))
    named.push_back(id);
  std::erase_if(named, [&](std::int64_t id) { return id >= rows; });
  return choose_vocabulary(data, named, counts, rows, target);
}

}  // namespace espalier::plan
