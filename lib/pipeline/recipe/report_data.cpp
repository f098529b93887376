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
using stages::Artifact;

namespace {

bool is_left(const std::string& path) {
  std::error_code unreadable;
  return fs::exists(path, unreadable);
}

// verify makes the KL histogram with logarithmic bins and stores it in the card. The loss curve
// comes from metrics.jsonl.
Json lines_of(const std::string& path) {
  Json out = Json::array();
  std::istringstream lines(core::read_text_file(path));
  for (std::string line; std::getline(lines, line);)
    if (!line.empty()) out.push_back(Json::parse(line));
  return out;
}

bool is_shown(Artifact artifact) {
  return artifact == Artifact::card || artifact == Artifact::curve ||
         artifact == Artifact::importance;
}

}  // namespace

std::string Runner::record_hash(const Step& step) const {
  hash::Sha256 sum;
  std::vector<std::string> files{"manifest.json"};
  for (const stages::Output& output : step.stage->outputs())
    if (is_shown(output.artifact)) files.push_back(output.file);
  for (const std::string& file : files) {
    const std::string path = directory_of(step.name) + "/" + file;
    sum.update(file + " " + (is_left(path) ? hash::sha256_file(path) : "absent") + "\n");
  }
  return sum.hex();
}

Json Runner::record() const {
  Json data{{"title", recipe_.name}, {"recipe", recipe_.text}, {"stages", Json::array()}};
  for (const Step& step : recipe_.stages) {
    const std::string directory = directory_of(step.name);
    if (!hashes_.contains(step.name)) continue;  // comes after the report
    const checkpoint::Manifest manifest = checkpoint::read_manifest(directory);
    data["stages"].push_back({{"name", step.name},
                              {"kind", step.kind->name},
                              {"metrics", manifest.metrics},
                              {"options", manifest.options},
                              {"inputs", manifest.inputs}});
    for (const stages::Output& output : step.stage->outputs()) {
      const std::string path = directory + "/" + output.file;
      if (!is_shown(output.artifact) || !is_left(path)) continue;
      if (output.artifact == Artifact::curve)
        data["loss"] = lines_of(path);
      else
        data[output.artifact == Artifact::card ? "card" : "importance"] =
            Json::parse(core::read_text_file(path));
    }
  }
  if (data.contains("card") && data["card"].contains("kl_histogram"))
    data["kl_histogram"] = data["card"]["kl_histogram"];
  return data;
}

}  // namespace espalier::recipe
