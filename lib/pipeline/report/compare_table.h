// SPDX-License-Identifier: Apache-2.0
// The tables of a comparison as rows of cells, for HTML and Markdown alike. Internal to
// lib/pipeline/report.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace espalier::report {

struct Cell {
  std::string text;
  // 0 to 1: how much of the colour of importance lies behind the text, which says the same. Below
  // 0: none.
  double shade = -1;
};
struct Table {
  std::string title, note;
  std::vector<std::string> head;
  std::vector<std::vector<Cell>> rows;
};
std::vector<Table> result_tables(const nlohmann::ordered_json& data);
std::vector<Table> importance_tables(const nlohmann::ordered_json& data);
std::vector<Table> correlation_tables(const nlohmann::ordered_json& data);
Table cost_table(const nlohmann::ordered_json& data);

}  // namespace espalier::report
