// SPDX-License-Identifier: Apache-2.0
// Numbers of a comparison -> cells of text.
#include "report/compare_table.h"

#include <algorithm>
#include <cmath>

#include "core/duration.h"
#include "core/units.h"
#include "report/html.h"

namespace espalier::report {
namespace {

using Json = nlohmann::ordered_json;

const char* const kUnknown = "-";

std::string string_of(const Json& v) { return v.is_string() ? v.get<std::string>() : ""; }
std::string digits_or_dash(const Json& v, int digits) {
  return v.is_number() ? fixed(v.get<double>(), digits) : kUnknown;
}
std::string count_or_dash(const Json& v) {
  return v.is_number() ? core::human_count(v.get<std::int64_t>()) : kUnknown;
}
std::string bytes_or_dash(const Json& v) {
  return v.is_number() ? core::human_bytes(v.get<std::int64_t>()) : kUnknown;
}
std::string duration_or_dash(const Json& v) {
  return v.is_number() ? core::human_duration(v.get<double>()) : kUnknown;
}

// "1.340 [1.321, 1.359] tie": how many times dense, its interval, and where it stands.
std::string ratio_of(const Json& measured) {
  std::string out = digits_or_dash(measured.at("ratio"), 3);
  if (measured.at("low").is_number())
    out += " [" + digits_or_dash(measured["low"], 3) + ", " + digits_or_dash(measured["high"], 3) +
           "]";
  const std::string standing = string_of(measured.at("standing"));
  if (standing == "best" || standing == "tie") out += " " + standing;
  return out;
}

bool has_speed(const Json& data) {
  const Json& rows = data.at("summary");
  return std::any_of(rows.begin(), rows.end(), [](const Json& row) {
    return row.at("decode_tokens_per_second").is_number();
  });
}

void add_result(Table& table, const Json& data, const Json& row) {
  std::vector<Cell> cells{{string_of(row.at("scheme"))},
                          {string_of(row.at("ratio"))},
                          {row.at("seeds").dump()},
                          {count_or_dash(row.at("parameters"))},
                          {bytes_or_dash(row.at("bytes"))}};
  for (const Json& name : data.at("texts")) {
    const auto it = row.at("texts").find(name.get<std::string>());
    if (it == row["texts"].end()) {
      cells.push_back({string_of(row.at("error")).empty() ? kUnknown : "failed"});
      cells.push_back({kUnknown});
      continue;
    }
    cells.push_back({ratio_of(*it)});
    cells.push_back({digits_or_dash(it->at("kl"), 3)});
  }
  if (has_speed(data)) cells.push_back({digits_or_dash(row.at("decode_tokens_per_second"), 1)});
  table.rows.push_back(std::move(cells));
}

Table dense_table(const Json& data) {
  const Json& dense = data.at("dense");
  Table table;
  table.title = "Dense model";
  table.head = {"parameters", "bytes"};
  std::vector<Cell> cells{{count_or_dash(dense.at("parameters"))},
                          {bytes_or_dash(dense.at("bytes"))}};
  for (const auto& [name, perplexity] : dense.at("perplexity").items()) {
    table.head.push_back(name + ", perplexity");
    cells.push_back({digits_or_dash(perplexity, 2)});
  }
  table.rows.push_back(std::move(cells));
  return table;
}

// A column for each criterion of an axis.
Table table_of_criteria(const Json& axis, const char* first, const char* note) {
  Table table;
  table.title = string_of(axis.at("axis"));
  table.note = note;
  table.head = {first};
  for (const Json& name : axis.at("names")) table.head.push_back(string_of(name));
  return table;
}

}  // namespace

std::vector<Table> result_tables(const Json& data) {
  std::vector<Table> out{dense_table(data)};
  for (const char* stage : {"pruned", "distilled"}) {
    Table table;
    table.title = stage == std::string("pruned") ? "One shot" : "After distillation";
    table.head = {"scheme", "size", "seeds", "parameters", "bytes"};
    for (const Json& name : data.at("texts")) {
      table.head.push_back(string_of(name) + ", times dense");
      table.head.push_back("KL");
    }
    if (has_speed(data)) table.head.emplace_back("decode tok/s");
    for (const Json& row : data.at("summary"))
      if (row.at("stage") == stage) add_result(table, data, row);
    if (!table.rows.empty()) out.push_back(std::move(table));
  }
  return out;
}

std::vector<Table> importance_tables(const Json& data) {
  std::vector<Table> out;
  for (const Json& axis : data.at("importance")) {
    Table table = table_of_criteria(
        axis, "layer",
        "Mean score of a layer, in percent of the criterion's largest. The darker, the more.");
    int layer = 0;
    for (const Json& values : axis.at("layers")) {
      std::vector<Cell> cells{{std::to_string(layer++)}};
      for (const Json& v : values)
        cells.push_back(v.is_number() ? Cell{fixed(100 * v.get<double>(), 0), v.get<double>()}
                                      : Cell{kUnknown});
      table.rows.push_back(std::move(cells));
    }
    out.push_back(std::move(table));
  }
  return out;
}

std::vector<Table> correlation_tables(const Json& data) {
  std::vector<Table> out;
  for (const Json& axis : data.at("correlation")) {
    Table table = table_of_criteria(
        axis, "criterion",
        "Spearman's rank correlation of the scores of the dense model, mean over the layers.");
    for (std::size_t i = 0; i < axis["names"].size(); ++i) {
      std::vector<Cell> cells{{string_of(axis["names"][i])}};
      for (const Json& v : axis.at("values").at(i))
        cells.push_back(v.is_number() ? Cell{fixed(v.get<double>(), 2), std::fabs(v.get<double>())}
                                      : Cell{kUnknown});
      table.rows.push_back(std::move(cells));
    }
    out.push_back(std::move(table));
  }
  return out;
}

Table cost_table(const Json& data) {
  Table table;
  table.head = {"scheme", "one shot", "scores before it", "distillation", "peak memory"};
  for (const Json& row : data.at("costs"))
    table.rows.push_back({{string_of(row.at("scheme"))},
                          {duration_or_dash(row.at("seconds"))},
                          {duration_or_dash(row.at("score_seconds"))},
                          {duration_or_dash(row.at("distill_seconds"))},
                          {bytes_or_dash(row.at("peak_rss_bytes"))}});
  return table;
}

}  // namespace espalier::report
