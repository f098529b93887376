// SPDX-License-Identifier: Apache-2.0
// Runs the cells of a comparison, or a shard of them, and writes the tables of all.
#include "compare/compare.h"

#include <cstdio>
#include <set>

#include "checkpoint/checkpoint.h"
#include "compare/importance.h"
#include "compare/results.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/output.h"
#include "core/units.h"
#include "report/compare_page.h"
#include "stages/stage.h"

namespace espalier::compare {
namespace {

using Json = nlohmann::ordered_json;

std::string csv_value(const Json& v) {
  if (v.is_null()) return "";
  if (v.is_number_float()) {
    char text[40];
    std::snprintf(text, sizeof text, "%.9g", v.get<double>());
    return text;
  }
  if (!v.is_string()) return v.dump();
  std::string out;
  for (const char c : v.get<std::string>()) out += c == '"' ? "\"\"" : std::string(1, c);
  return out.find_first_of(",\"\n") == std::string::npos ? out : "\"" + out + "\"";
}

std::string csv_of(const Json& rows, const std::vector<std::string>& columns) {
  std::string out;
  for (const std::string& column : columns) out += (out.empty() ? "" : ",") + column;
  out += "\n";
  for (const Json& row : rows) {
    std::string line;
    for (const std::string& column : columns) {
      if (column != columns.front()) line += ',';
      line += csv_value(row.at(column));
    }
    out += line + "\n";
  }
  return out;
}

// Messages name files in the folder of the results. Rows do not depend on where that is.
std::string without_folder(const std::string& text, const std::string& folder) {
  std::string out;
  std::size_t begin = 0;
  for (std::size_t at = 0; (at = text.find(folder, begin)) != std::string::npos;
       begin = at + folder.size()) {
    out.append(text, begin, at - begin);
    out += '.';
  }
  out.append(text, begin);
  return out;
}

// The criteria by which schemes prune, each once; times go to the costs of the schemes.
std::vector<NamedScores> gather_scores(const Comparison& comparison, const std::vector<Cell>& cells,
                                       CellRunner& runner, Json& costs) {
  std::vector<NamedScores> out;
  std::set<std::string> seen;
  const auto model = checkpoint::Checkpoint::open(comparison.model);
  for (std::size_t s = 0; s < comparison.schemes.size(); ++s)
    for (const Cell& cell : cells) {
      if (cell.scheme != &comparison.schemes[s]) continue;
      try {
        const std::optional<ScoresMade> made = runner.scores(cell);
        if (!made) break;
        const auto wanted = scores_wanted(comparison, cell);
        if (wanted && wanted->decides) costs[s]["score_seconds"] = made->seconds;
        if (!seen.insert(made->path).second) break;
        std::string name = made->criterion;
        for (const NamedScores& other : out)
          if (other.name == name) name += " (" + cell.scheme_name() + ")";
        out.push_back({name, prune::read_scores(made->path, model.dims())});
      } catch (const core::Error& error) {
        core::note(cell.about() + ": no scores for the tables of importance: " + error.what());
      }
      break;
    }
  return out;
}

Json about(const Comparison& comparison) {
  const Protocol& p = comparison.protocol;
  std::string texts;
  for (const Text& text : comparison.texts)
    texts += (texts.empty() ? "" : ", ") + text.name + " (" + text.path + ")";
  Json out = Json::array();
  out.push_back("Calibrated on " + comparison.calibration + ". Measured on " + texts + ": " +
                (p.windows > 0 ? "at most " + std::to_string(p.windows) : std::string("all")) +
                " windows of " + std::to_string(p.context) + " tokens, protocol " + p.scoring +
                ".");
  out.push_back(
      "Perplexities are shown as times the dense model's, with intervals of 95 % by a paired "
      "bootstrap over the windows (" +
      std::to_string(p.resamples) +
      " draws). A scheme is a tie where the interval of its difference from the best of its size "
      "holds zero. Losses of several seeds are averaged.");
  out.push_back(comparison.file
                    ? "Bytes are those of the files that the block 'file' makes; speed is measured "
                      "with them on this machine."
                    : "Bytes are two for each parameter, or those of a GGUF that was given.");
  return out;
}

void write_tables(const CompareOptions& options, const Json& data, const Json& rows) {
  const std::vector<std::string> measured{"scheme",    "ratio",      "seed",
                                          "stage",     "text",       "parameters",
                                          "bytes",     "perplexity", "perplexity_ratio",
                                          "ratio_low", "ratio_high", "kl_mean",
                                          "kl_low",    "kl_high",    "same_top1",
                                          "tokens",    "windows",    "standing",
                                          "error"};
  const std::vector<std::string> costs{
      "scheme", "ratio",   "seed",           "stage",
      "text",   "seconds", "peak_rss_bytes", "decode_tokens_per_second"};
  core::write_text_file(options.out + "/rows.csv", csv_of(rows, measured));
  core::write_text_file(options.out + "/costs.csv", csv_of(rows, costs));
  core::write_text_file(options.out + "/compare.md", report::compare_markdown(data));
  core::write_text_file(options.out + "/compare.html", report::compare_html(data));
}

std::vector<Cell> of_shard(const std::vector<Cell>& all, const CompareOptions& options) {
  if (options.shards == 0) return all;
  std::vector<Cell> out;
  for (std::size_t c = 0; c < all.size(); ++c)
    if (static_cast<std::int64_t>(c) % options.shards == options.shard % options.shards)
      out.push_back(all[c]);
  return out;
}

void check_all(const Comparison& comparison, const std::vector<Cell>& cells, CellRunner& runner,
               const CompareOptions& options) {
  if (comparison.file) stages::require_device_program(options.bench_program);
  std::vector<std::string> inputs{comparison.model, comparison.calibration};
  for (const Text& text : comparison.texts) inputs.push_back(text.path);
  core::require_not_input(options.out, inputs);
  core::require_writable_directory(options.out);
  for (const Cell& cell : cells) {
    runner.check(cell);
    static_cast<void>(scores_wanted(comparison, cell));
  }
}

}  // namespace

Json compare(const std::string& path, const CompareOptions& options,
             const core::Progress& progress) {
  const Comparison comparison = parse_comparison(path);
  const std::vector<Cell> all = cells_of(comparison), cells = of_shard(all, options);
  CellRunner runner(comparison, options, progress);
  check_all(comparison, all, runner, options);
  std::vector<CellOutcome> outcomes;
  std::int64_t failed = 0;
  for (const Cell& cell : cells) {
    if (progress)
      progress({"compare", static_cast<std::int64_t>(outcomes.size()),
                static_cast<std::int64_t>(cells.size()), "cells", cell.name});
    outcomes.push_back({cell, runner.run(cell)});
    std::string& error = outcomes.back().outcome.error;
    if (!error.empty()) ++failed;
    error = without_folder(error, options.out);
  }
  const Results results(comparison, outcomes);
  const Json rows = results.rows();
  if (options.shards == 0) {
    Json data{{"title", comparison.name},    {"command", options.command},
              {"recipe", comparison.text},   {"model", comparison.model},
              {"about", about(comparison)},  {"texts", Json::array()},
              {"dense", results.dense()},    {"summary", results.summary()},
              {"importance", Json::array()}, {"correlation", Json::array()},
              {"costs", results.costs()}};
    for (const Text& text : comparison.texts) data["texts"].push_back(text.name);
    if (comparison.importance) {
      const auto scores = gather_scores(comparison, all, runner, data["costs"]);
      data["importance"] = importance_of(scores);
      data["correlation"] = correlation_of(scores);
    }
    write_tables(options, data, rows);
  }
  return {{"name", comparison.name},
          {"output", options.out},
          {"cells", cells.size()},
          {"failed", failed},
          {"rows", rows}};
}

}  // namespace espalier::compare
