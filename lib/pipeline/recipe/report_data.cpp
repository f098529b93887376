// SPDX-License-Identifier: Apache-2.0
// Gathers what the report shows from the manifests, cards, plans and metrics of finished stages. It
// computes nothing new.
#include <filesystem>
#include <sstream>

#include "core/file.h"
#include "recipe/runner.h"

namespace espalier::recipe {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

// verify makes the KL histogram with logarithmic bins and stores it in the card. The loss curve
// comes from metrics.jsonl.
Json loss_curve(const std::string& path) {
  Json out = Json::array();
  if (!fs::exists(path)) return out;
  std::istringstream lines(core::read_text_file(path));
  for (std::string line; std::getline(lines, line);)
    if (!line.empty()) out.push_back(Json::parse(line));
  return out;
}

}  // namespace

Json Runner::report_data(const ReportStage& what) const {
  Json data{{"title", what.title}, {"recipe", recipe_.text}, {"stages", Json::array()}};
  for (const Stage& stage : recipe_.stages) {
    const std::string directory = directory_of(stage.name);
    if (!checkpoint::has_manifest(directory)) continue;
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
    if (stage.kind() == "prune" && fs::exists(directory + "/model/importance.json"))
      data["importance"] = Json::parse(core::read_text_file(directory + "/model/importance.json"));
  }
  if (data.contains("card") && data["card"].contains("kl_histogram"))
    data["kl_histogram"] = data["card"]["kl_histogram"];
  return data;
}

}  // namespace espalier::recipe
