// SPDX-License-Identifier: Apache-2.0
// Assembles the page. Every number comes from `data`, and text is escaped.
#include "report/report.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "core/duration.h"
#include "core/units.h"
#include "report/html.h"
#include "report/page.h"

namespace espalier::report {
namespace {

using Json = nlohmann::ordered_json;

// A value for a table, by the name of its key.
std::string shown(std::string_view key, const Json& v) {
  if (v.is_null()) return kNotFinite;
  return v.is_number() ? core::human_value(key, v.get<double>()) : v.dump();
}
std::string size_of(const Json& bytes) { return core::human_bytes(bytes.get<std::int64_t>()); }
std::string count_of(const Json& n) { return core::human_count(n.get<std::int64_t>()); }

void tile(std::ostream& out, const std::string& value, const std::string& label) {
  out << "<div class=tile><b>" << value << "</b><span>" << label << "</span></div>";
}

bool is_passed(const Json& gate) { return gate.at("passed").get<bool>(); }
bool leg_passed(const Json& card, const std::string& leg) {
  const Json& p = card.at("parity");
  return real(p.at(leg + "_relative_error")) <= real(p.at(leg + "_tolerance"));
}

void summary(std::ostream& out, const Json& card) {
  out << "<div class=tiles>";
  tile(out, size_of(card.at("file_bytes")),
       "the file (teacher: " + size_of(card.at("teacher_file_bytes")) + ")");
  tile(out, count_of(card.at("parameters")),
       "parameters, " + fixed(100 * real(card.at("parameters_ratio")), 1) + " % of the teacher's");
  tile(out, fixed(real(card.at("perplexity")), 2),
       "held-out perplexity, " + fixed(real(card.at("perplexity_ratio")), 3) +
           " times the teacher's " + fixed(real(card.at("teacher_perplexity")), 2));
  tile(out, fixed(real(card.at("kl_mean")), 3),
       "mean KL to the teacher, nats a token; same top token " +
           fixed(100 * real(card.at("same_top1")), 1) + " %");
  if (card.contains("decode_tokens_per_second"))
    tile(out, fixed(real(card["decode_tokens_per_second"]), 0) + " tok/s",
         "decode; prefill " + fixed(real(card["prefill_tokens_per_second"]), 0) +
             " tok/s; peak RSS " + size_of(card["peak_rss_bytes"]) + "; " +
             escape(card.value("cpu", "") + ", " + card.value("isa", "")));
  out << "</div>";
  const auto verdict = [&](const char* kind, const std::string& text) {
    out << "<div class=\"verdict" << kind << "\">" << text << "</div>";
  };
  const Json& gates = card.at("gates");
  const auto failed =
      std::count_if(gates.begin(), gates.end(), [](const Json& g) { return !is_passed(g); });
  if (gates.empty())
    verdict(" none", "No gates set: nothing was required of this file.");
  else if (failed > 0)
    verdict(" bad", std::to_string(failed) + " of " + std::to_string(gates.size()) +
                        " gates failed: see the table below.");
  else
    verdict("", "All " + std::to_string(gates.size()) + " gates passed.");
  if (leg_passed(card, "leg_a") && leg_passed(card, "leg_b"))
    verdict("", "Parity passed: file, reference and kernels agree.");
  else
    verdict(" bad", "Parity failed: see the table below.");
}

void checks(std::ostream& out, const Json& card) {
  out << "<h2>Checks</h2><table><tr><th>check<th>limit<th>value<th></tr>";
  for (const Json& g : card["gates"]) {
    const std::string gate = g.at("gate").get<std::string>();
    core::HumanPair texts{shown(gate, g.at("value")), shown(gate, g.at("limit"))};
    if (g["value"].is_number() && g["limit"].is_number())
      texts = core::human_values(gate, g["value"].get<double>(), g["limit"].get<double>());
    out << "<tr><td>" << escape(gate) << "<td>" << texts.limit << "<td>" << texts.value
        << "<td class=" << (is_passed(g) ? "ok>passed" : "no>FAILED") << "</tr>";
  }
  const Json& p = card.at("parity");
  for (const char* leg : {"leg_a", "leg_b"})
    out << "<tr><td>parity "
        << (leg[4] == 'a' ? "A: training forward against reference kernels"
                          : "B: reference kernels against the fast ones")
        << "<td>" << shown("tolerance", p.at(std::string(leg) + "_tolerance")) << "<td>"
        << shown("error", p.at(std::string(leg) + "_relative_error"))
        << "<td class=" << (leg_passed(card, leg) ? "ok>passed" : "no>FAILED") << "</tr>";
  out << "</table>";
}

void baselines(std::ostream& out, const Json& card) {
  out << "<h2>Size against perplexity</h2><div class=grid><figure><canvas id=sizes "
         "height=250></canvas><figcaption>Held-out text, the same windows for "
         "all.</figcaption></figure><div><table>"
      << "<tr><th>model<th>parameters<th>bytes<th>perplexity<th>KL mean<th></tr>";
  const auto row = [&](const std::string& name, const Json& parameters, const Json& bytes,
                       const Json& perplexity, const Json& kl, const std::string& note) {
    out << "<tr><td>" << name << "<td>" << count_of(parameters) << "<td>" << size_of(bytes)
        << "<td>" << fixed(real(perplexity), 2) << "<td>"
        << (kl.is_number() ? fixed(kl.get<double>(), 3) : "") << "<td>" << note << "</tr>";
  };
  row("<b>the file</b>", card.at("parameters"), card.at("file_bytes"), card.at("perplexity"),
      card.at("kl_mean"), "");
  row("teacher", card.at("teacher_parameters"), card.at("teacher_file_bytes"),
      card.at("teacher_perplexity"), nullptr, "");
  for (const Json& b : card.at("baselines"))
    row(escape(b.at("name").get<std::string>()), b.at("parameters"), b.at("file_bytes"),
        b.at("perplexity"), b.at("kl_mean"),
        b.at("beaten").get<bool>() ? "<span class=ok>beaten</span>"
                                   : "<span class=no>NOT beaten</span>");
  out << "</table></div></div>";
}

// What the loss chart draws: [key of a step, label] of the loss and of each of its terms.
Json curves(const Json& steps) {
  static const std::set<std::string> others{"step", "tokens", "learning_rate", "grad_norm",
                                            "tokens_per_second"};
  static const std::map<std::string, std::string> labels{{"kl", "KL to the teacher"},
                                                         {"ce", "cross-entropy"}};
  Json out = Json::array();
  for (const auto& [key, value] : steps.front().items()) {
    if (others.contains(key)) continue;
    const auto label = labels.find(key);
    out.push_back({key, label == labels.end() ? key : label->second});
  }
  return out;
}

void stages(std::ostream& out, const Json& data) {
  out << "<h2>What was done</h2><table><tr><th>stage<th>kind<th>time<th>numbers</tr>";
  for (const Json& s : data.at("stages")) {
    Json metrics = s.at("metrics");
    const double seconds = metrics.value("seconds", 0.0);
    const double expected = metrics.value("expected_seconds", 0.0);
    metrics.erase("seconds");
    metrics.erase("expected_seconds");
    metrics.erase("formats");
    std::string text;
    for (const auto& [key, value] : metrics.items()) {
      const std::string said = value.is_string() ? value.get<std::string>() : shown(key, value);
      if (said.empty()) continue;
      const bool bytes = key.ends_with("_bytes") && value.is_number();
      std::string name = bytes ? key.substr(0, key.size() - 6) : key;
      std::replace(name.begin(), name.end(), '_', ' ');
      // The value of "failures" is a sentence.
      text += (text.empty() ? "" : ", ") + (key == "failures" ? said : name + " " + said);
    }
    out << "<tr><td>" << escape(s.at("name").get<std::string>()) << "<td>"
        << escape(s.at("kind").get<std::string>()) << "<td>" << core::human_duration(seconds)
        << (expected > 0 ? " (expected " + core::human_duration(expected) + ")" : "")
        << "<td style=\"text-align:left\">" << escape(text) << "</tr>";
  }
  out << "</table>";
}

}  // namespace

std::string report_html(const Json& data) {
  std::ostringstream out;
  begin_page(out, data.value("title", "Espalier"));
  if (data.contains("card")) {
    const Json& card = data["card"];
    out << "<p class=sub>" << escape(card.value("file", "")) << " <code>"
        << escape(card.value("sha256", "")) << "</code></p>";
    summary(out, card);
    baselines(out, card);
    checks(out, card);
  }
  out << "<h2>How it was made</h2><div class=grid>";
  if (data.contains("loss") && !data["loss"].empty())
    figure(out, "loss", "Distillation: loss per token over training tokens.");
  if (data.contains("kl_histogram"))
    figure(out, "kl", "How far single predictions are from the teacher's, on held-out text.");
  if (data.contains("importance") && data["importance"].contains("block_influence"))
    figure(out, "layers",
           data["importance"].at("kept_layers").size() <
                   data["importance"].at("block_influence").size()
               ? "Importance of the teacher's layers; the red ones were dropped."
               : "Importance of the teacher's layers; all were kept.");
  out << "</div>";
  if (data.contains("stages")) stages(out, data);
  if (data.contains("card") && data["card"].contains("lineage")) {
    out << "<h2>What went in</h2><table><tr><th>input<th>SHA-256</tr>";
    for (const auto& [name, hash] : data["card"]["lineage"].items())
      out << "<tr><td>" << escape(name) << "<td><code>" << escape(hash.get<std::string>())
          << "</code></tr>";
    out << "</table>";
  }
  if (data.contains("recipe"))
    out << "<h2>Recipe</h2><pre>" << escape(data["recipe"].get<std::string>()) << "</pre>";
  Json shown = data;
  if (data.contains("loss") && !data["loss"].empty()) shown["curves"] = curves(data["loss"]);
  end_page(out, shown, kScript);
  return out.str();
}

}  // namespace espalier::report
