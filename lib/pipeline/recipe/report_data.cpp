// SPDX-License-Identifier: Apache-2.0
// Gathers what the report shows from the manifests, cards, plans and metrics of finished stages. It
// computes nothing new.
#include <filesystem>
#include <sstream>

#include "core/file.h"
#include "hash/sha256.h"
#include "recipe/runner.h"

namespace espalier::recipe {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

bool exists(const std::string& path) {
  std::error_code unreadable;
  return fs::exists(path, unreadable);
}

// verify makes the KL histogram with logarithmic bins and stores it in the card. The loss curve
// comes from metrics.jsonl.
Json loss_curve(const std::string& path) {
  Json out = Json::array();
  if (!exists(path)) return out;
  std::istringstream lines(core::read_text_file(path));
  for (std::string line; std::getline(lines, line);)
    if (!line.empty()) out.push_back(Json::parse(line));
  return out;
}

// Files of a finished stage's directory that the page shows.
std::vector<std::string> shown_files(const Stage& stage) {
  std::vector<std::string> out{"manifest.json"};
  if (stage.kind() == "verify") out.push_back("device-card.json");
  if (stage.kind() == "distill") out.push_back("model/metrics.jsonl");
  if (stage.kind() == "prune") out.push_back("model/importance.json");
  return out;
}

}  // namespace

std::string Runner::record_hash(const Stage& stage) const {
  hash::Sha256 sum;
  for (const std::string& file : shown_files(stage)) {
    const std::string path = directory_of(stage.name) + "/" + file;
    sum.update(file + " " + (exists(path) ? hash::sha256_file(path) : "absent") + "\n");
  }
  return sum.hex();
}

Json Runner::report_data(const ReportStage& what) const {
  Json data{{"title", what.title}, {"recipe", recipe_.text}, {"stages", Json::array()}};
  for (const Stage& stage : recipe_.stages) {
    const std::string directory = directory_of(stage.name);
    if (!hashes_.contains(stage.name)) continue;  // comes after the report
    const checkpoint::Manifest manifest = checkpoint::read_manifest(directory);
    data["stages"].push_back({{"name", stage.name},
                              {"kind", stage.kind()},
                              {"metrics", manifest.metrics},
                              {"options", manifest.options},
                              {"inputs", manifest.inputs}});
    if (stage.kind() == "verify")
      data["card"] = Json::parse(core::read_text_file(directory + "/device-card.json"));
    if (const auto* d = std::get_if<DistillStage>(&stage.what);
        d != nullptr && d->teacher != "none")
      data["loss"] = loss_curve(directory + "/model/metrics.jsonl");
    if (stage.kind() == "prune" && exists(directory + "/model/importance.json"))
      data["importance"] = Json::parse(core::read_text_file(directory + "/model/importance.json"));
  }
  if (data.contains("card") && data["card"].contains("kl_histogram"))
    data["kl_histogram"] = data["card"]["kl_histogram"];
  return data;
}

}  // namespace espalier::recipe
