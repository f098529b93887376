// SPDX-License-Identifier: Apache-2.0
// cell.json, and what evaluations leave.
#include "compare/finished.h"

#include <cmath>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "format/json_input.h"

namespace espalier::compare {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json or_null(const std::optional<T>& v) {
  return v ? Json(*v) : Json(nullptr);
}
template <typename T>
std::optional<T> if_there(const Json& map, const char* key) {
  const auto it = map.find(key);
  if (it == map.end() || it->is_null()) return std::nullopt;
  return it->get<T>();
}

Json json_of(const Measured& m) {
  return {{"perplexity", m.perplexity},
          {"kl_mean", or_null(m.kl)},
          {"same_top1", or_null(m.same_top1)},
          {"tokens", m.tokens},
          {"nll", m.nll},
          {"kl", m.kl_sums}};
}

Measured measured_from(const Json& m) {
  return {m.at("perplexity").is_null() ? HUGE_VAL : m.at("perplexity").get<double>(),
          if_there<double>(m, "kl_mean"),
          if_there<double>(m, "same_top1"),
          m.at("tokens").get<std::vector<double>>(),
          m.at("nll").get<std::vector<double>>(),
          m.at("kl").get<std::vector<double>>()};
}

StageNumbers stage_from(const Json& stage) {
  StageNumbers out{stage.at("parameters").get<std::int64_t>(),
                   stage.at("bytes").get<std::int64_t>()};
  for (const auto& [name, measured] : stage.at("texts").items())
    out.texts[name] = measured_from(measured);
  return out;
}

}  // namespace

Json to_json(const Finished& finished) {
  Json out{{"identity", finished.identity}, {"stages", Json::object()}};
  for (const auto& [name, stage] : finished.stages) {
    Json texts = Json::object();
    for (const auto& [text, measured] : stage.texts) texts[text] = json_of(measured);
    out["stages"][name] = {
        {"parameters", stage.parameters}, {"bytes", stage.bytes}, {"texts", std::move(texts)}};
  }
  const Costs& costs = finished.costs;
  out["costs"] = {{"seconds", or_null(costs.seconds)},
                  {"distill_seconds", or_null(costs.distill_seconds)},
                  {"peak_rss_bytes", or_null(costs.peak_rss_bytes)},
                  {"decode_tokens_per_second", costs.decode}};
  return out;
}

Finished finished_from(const std::string& path) {
  const Json all = format::parse_json<Json>(core::read_text_file(path), path);
  try {
    Finished out{all.at("identity").get<std::string>()};
    for (const auto& [name, stage] : all.at("stages").items()) out.stages[name] = stage_from(stage);
    const Json& costs = all.at("costs");
    out.costs = {if_there<double>(costs, "seconds"), if_there<double>(costs, "distill_seconds"),
                 if_there<std::int64_t>(costs, "peak_rss_bytes"),
                 costs.at("decode_tokens_per_second").get<std::map<std::string, double>>()};
    return out;
  } catch (const Json::exception& error) {
    core::fail(core::ErrorKind::input, path, ": broken (", error.what(),
               "); remove it to run the cell again");
  }
}

Measured read_measured(const std::string& folder) {
  const std::string path = folder + "/eval.json";
  const Json result = format::parse_json<Json>(core::read_text_file(path), path);
  Measured out;
  out.perplexity = if_there<double>(result, "perplexity").value_or(HUGE_VAL);
  out.kl = if_there<double>(result, "kl_mean");
  out.same_top1 = if_there<double>(result, "same_top1");
  std::istringstream lines(core::read_text_file(folder + "/windows.csv"));
  std::string line;
  std::getline(lines, line);  // the names of the columns
  while (std::getline(lines, line)) {
    double window = 0, tokens = 0, nll = 0, kl = 0;
    char comma = 0;
    std::istringstream numbers(line);
    numbers >> window >> comma >> tokens >> comma >> nll >> comma >> kl;
    ESP_CHECK(!numbers.fail(), input, folder, "/windows.csv: not a line of numbers: ", line);
    out.tokens.push_back(tokens);
    out.nll.push_back(nll);
    out.kl_sums.push_back(kl);
  }
  return out;
}

}  // namespace espalier::compare
