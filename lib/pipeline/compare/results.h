// SPDX-License-Identifier: Apache-2.0
// Rows, averages over seeds, intervals and ties of finished cells. Internal to
// lib/pipeline/compare.
#pragma once
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "compare/cell_runner.h"
#include "compare/statistics.h"

namespace espalier::compare {

struct CellOutcome {
  Cell cell;
  Outcome outcome;
};

// Losses of the windows of a text, for a paired comparison. In sums over the tokens of a window.
struct Losses {
  std::vector<double> tokens, nll, kl;
};

// Cells that differ in their seed alone.
struct Group {
  std::string scheme, ratio, stage;  // stage: "pruned" (also of given models) or "distilled"
  std::vector<const CellOutcome*> cells = {};
  std::map<std::string, Losses> mean = {};           // by text; of those that can be compared
  std::map<std::string, std::string> standing = {};  // by text: "best", "tie", "behind", or ""
};

class Results {
 public:
  Results(const Comparison& comparison, const std::vector<CellOutcome>& outcomes);
  // One for each cell, stage and text; one for a cell that failed.
  nlohmann::ordered_json rows() const;
  nlohmann::ordered_json summary() const;  // report/compare_page.h
  nlohmann::ordered_json dense() const;
  nlohmann::ordered_json costs() const;  // but for the time of scores

 private:
  const Measured* dense_on(const std::string& text) const;
  const Bootstrap& bootstrap(std::size_t windows) const;
  // Times dense; nothing where the windows are not those of the dense model.
  nlohmann::ordered_json against_dense(const Losses& losses, const std::string& text) const;
  void add_group(const CellOutcome& one, const std::string& stage);
  void average(Group& group) const;
  void find_ties();
  void judge(const std::vector<Group*>& rivals, const std::string& text) const;
  const Group* group_of(const Cell& cell, const std::string& stage) const;
  nlohmann::ordered_json row_of(const CellOutcome& one, const std::string& stage,
                                const std::string& text) const;
  nlohmann::ordered_json summary_of(const Group& group) const;

  const Comparison& comparison_;
  const std::vector<CellOutcome>& outcomes_;
  const CellOutcome* dense_ = nullptr;
  std::vector<Group> groups_;
  mutable std::map<std::size_t, Bootstrap> bootstraps_;  // by number of windows
};

}  // namespace espalier::compare
