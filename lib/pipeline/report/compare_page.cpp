// SPDX-License-Identifier: Apache-2.0
// Puts the tables and charts of a comparison on a page, and the tables into Markdown.
#include "report/compare_page.h"

#include <sstream>

#include "core/units.h"
#include "report/compare_table.h"
#include "report/html.h"
#include "report/page.h"

namespace espalier::report {
namespace {

using Json = nlohmann::ordered_json;

void put(std::ostream& out, const Table& table) {
  if (!table.title.empty()) out << "<h3>" << escape(table.title) << "</h3>";
  if (!table.note.empty()) out << "<p class=soft>" << escape(table.note) << "</p>";
  out << "<div class=wide><table><tr>";
  for (const std::string& head : table.head) out << "<th>" << escape(head);
  out << "</tr>";
  for (const auto& row : table.rows) {
    out << "<tr>";
    for (const Cell& cell : row) {
      out << "<td";
      if (cell.shade >= 0) out << " class=heat style=\"--s:" << fixed(100 * cell.shade, 0) << "%\"";
      out << ">" << escape(cell.text);
    }
    out << "</tr>";
  }
  out << "</table></div>";
}

void put_all(std::ostream& out, const char* title, const std::vector<Table>& tables) {
  if (tables.empty()) return;
  out << "<h2>" << title << "</h2>";
  for (const Table& table : tables) put(out, table);
}

// One chart for each measure of each text, over each kind of size. The script draws those that it
// finds: the data names them.
Json charts(const Json& data) {
  bool has_speed = false, has_kl = false;
  for (const Json& row : data.at("summary")) {
    has_speed = has_speed || row.at("decode_tokens_per_second").is_number();
    for (const auto& [name, measured] : row.at("texts").items())
      has_kl = has_kl || measured.at("kl").is_number();
  }
  Json out = Json::array();
  for (const Json& text : data.at("texts"))
    for (const char* y : {"ratio", "kl"})
      for (const char* x : {"parameters", "bytes", "decode_tokens_per_second"}) {
        if (std::string(y) == "kl" && !has_kl) continue;
        if (std::string(x) == "decode_tokens_per_second" && !has_speed) continue;
        out.push_back(
            {{"id", "pareto-" + std::to_string(out.size())}, {"x", x}, {"y", y}, {"text", text}});
      }
  return out;
}

std::string caption(const Json& chart) {
  const std::string x = chart.at("x"), y = chart.at("y");
  return escape(chart.at("text").get<std::string>()) + ": " +
         (y == "kl" ? "KL to the dense model" : "perplexity, times dense") + ", against " +
         (x == "parameters" ? "parameters"
          : x == "bytes"    ? "bytes"
                            : "decode speed") +
         ". The line joins what nothing else beats in both.";
}

void failures(std::ostream& out, const Json& data) {
  bool first = true;
  for (const Json& row : data.at("summary")) {
    const std::string error = row.at("error").get<std::string>();
    if (error.empty()) continue;
    if (first)
      out << "<h2>What failed</h2><div class=wide><table><tr><th>scheme<th>size<th "
             "style=\"text-align:left\">error</tr>";
    first = false;
    out << "<tr><td>" << escape(row.at("scheme").get<std::string>()) << "<td>"
        << escape(row.at("ratio").get<std::string>())
        << "<td style=\"text-align:left;white-space:normal\">" << escape(error) << "</tr>";
  }
  if (!first) out << "</table></div>";
}

std::string markdown_of(const Table& table, const std::string& level) {
  std::string out;
  if (!table.title.empty()) out += level + " " + table.title + "\n\n";
  if (!table.note.empty()) out += table.note + "\n\n";
  const auto line = [&](const auto& cells, const auto& text) {
    out += "|";
    for (const auto& cell : cells) out += " " + text(cell) + " |";
    out += "\n";
  };
  line(table.head, [](const std::string& text) { return text; });
  line(table.head, [](const std::string&) { return std::string("---"); });
  for (const auto& row : table.rows) line(row, [](const Cell& cell) { return cell.text; });
  return out + "\n";
}

}  // namespace

std::string compare_html(const Json& data) {
  std::ostringstream out;
  begin_page(out, data.value("title", "Comparison"));
  out << "<p class=sub>" << escape(data.at("model").get<std::string>()) << ", "
      << core::human_count(data.at("dense").at("parameters").get<std::int64_t>())
      << " parameters; made by <code>" << escape(data.at("command").get<std::string>())
      << "</code></p>";
  for (const Json& sentence : data.at("about"))
    out << "<p>" << escape(sentence.get<std::string>()) << "</p>";
  put_all(out, "Results", result_tables(data));
  failures(out, data);
  const Json drawn = charts(data);
  if (!drawn.empty()) {
    out << "<h2>Size against quality</h2><div class=grid>";
    for (const Json& chart : drawn) figure(out, chart.at("id").get<std::string>(), caption(chart));
    out << "</div>";
  }
  put_all(out, "Importance by layer", importance_tables(data));
  put_all(out, "Do criteria agree?", correlation_tables(data));
  put_all(out, "Time and memory", {cost_table(data)});
  out << "<h2>The comparison as it was asked for</h2><pre>"
      << escape(data.at("recipe").get<std::string>()) << "</pre>";
  Json embedded = data;
  embedded["charts"] = drawn;
  end_page(out, embedded, kCompareScript);
  return out.str();
}

std::string compare_markdown(const Json& data) {
  std::string out = "# " + data.value("title", "Comparison") + "\n\n`" +
                    data.at("command").get<std::string>() + "`\n\n";
  for (const Json& sentence : data.at("about")) out += sentence.get<std::string>() + "\n\n";
  const auto add = [&](const char* title, const std::vector<Table>& tables) {
    if (tables.empty()) return;
    out += std::string("## ") + title + "\n\n";
    for (const Table& table : tables) out += markdown_of(table, "###");
  };
  add("Results", result_tables(data));
  for (const Json& row : data.at("summary"))
    if (const std::string error = row.at("error").get<std::string>(); !error.empty())
      out += "- " + row.at("scheme").get<std::string>() + ", " +
             row.at("ratio").get<std::string>() + ": failed: " + error + "\n";
  add("Importance by layer", importance_tables(data));
  add("Do criteria agree?", correlation_tables(data));
  add("Time and memory", {cost_table(data)});
  while (out.ends_with("\n\n")) out.pop_back();
  return out;
}

}  // namespace espalier::report
