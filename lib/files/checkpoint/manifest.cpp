// SPDX-License-Identifier: Apache-2.0
// Reads and writes manifest.json.
#include "checkpoint/manifest.h"

#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "format/json_input.h"
#include "hash/sha256.h"
#include "version/version.h"

namespace espalier::checkpoint {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kFormat = "espalier-manifest-1";
constexpr std::uint64_t kMaxBytes = 64 << 20;

// The rule by which these rise is in manifest.h.
struct Algorithm {
  std::string_view stage;
  int version;
};
constexpr Algorithm kAlgorithms[] = {{"prune", 3},    {"distill", 1}, {"cache", 1},
                                     {"quantize", 4}, {"verify", 1},  {"report", 1}};

std::string manifest_path(const std::string& directory) { return directory + "/manifest.json"; }

std::map<std::string, std::string> hashes(const Json& manifest, const char* key,
                                          const std::string& path) {
  std::map<std::string, std::string> out;
  const auto it = manifest.find(key);
  ESP_CHECK(it != manifest.end() && it->is_object(), input, path, ": key \"", key,
            "\" is missing or not an object");
  for (const auto& [name, hash] : it->items()) {
    ESP_CHECK(hash.is_string(), input, path, ": key \"", key, ".", name, "\" is not a string");
    out[name] = hash.get<std::string>();
  }
  return out;
}

std::string text_of(const Json& manifest, const char* key, const std::string& path) {
  const auto it = manifest.find(key);
  ESP_CHECK(it != manifest.end() && it->is_string(), input, path, ": key \"", key,
            "\" is missing or not a string");
  return it->get<std::string>();
}

}  // namespace

const std::vector<std::string>& stage_kinds() {
  static const std::vector<std::string> kinds = [] {
    std::vector<std::string> out;
    for (const Algorithm& a : kAlgorithms) out.emplace_back(a.stage);
    return out;
  }();
  return kinds;
}

int algorithm_version(std::string_view stage) {
  for (const Algorithm& a : kAlgorithms)
    if (a.stage == stage) return a.version;
  core::fail(core::ErrorKind::internal, "no algorithm version of stage kind '", stage, "'");
}

std::string identity(const Manifest& manifest) {
  return hash::sha256(Json{
      {"inputs", manifest.inputs}, {"options", manifest.options}, {"algorithm", manifest.algorithm}}
                          .dump());
}

std::string tool_version() { return "espalier " + version::full(); }

void write_manifest(const std::string& directory, const Manifest& manifest) {
  Json json;
  json["format"] = kFormat;
  json["stage"] = manifest.stage;
  json["algorithm"] = manifest.algorithm;
  json["tool_version"] = manifest.tool_version.empty() ? tool_version() : manifest.tool_version;
  json["inputs"] = manifest.inputs;
  json["options"] = manifest.options.is_null() ? Json::object() : manifest.options;
  json["metrics"] = manifest.metrics.is_null() ? Json::object() : manifest.metrics;
  json["outputs"] = manifest.outputs;
  core::write_text_file(manifest_path(directory),
                        json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

bool has_manifest(const std::string& directory) {
  std::error_code unreadable;
  return std::filesystem::exists(manifest_path(directory), unreadable);
}

Manifest read_manifest(const std::string& directory) {
  const std::string path = manifest_path(directory);
  Json json = format::parse_json<Json>(core::read_text_file(path, kMaxBytes), path);
  ESP_CHECK(json.is_object(), input, path, ": expected a JSON object");
  const std::string format = text_of(json, "format", path);
  ESP_CHECK(format == kFormat, input, path, ": key \"format\" is \"", format, "\", expected \"",
            kFormat, "\"");
  Manifest manifest;
  manifest.stage = text_of(json, "stage", path);
  if (const auto it = json.find("algorithm"); it != json.end()) {
    ESP_CHECK(it->is_number_unsigned() && it->get<std::uint64_t>() < 1000000, input, path,
              ": key \"algorithm\" is not a small whole number");
    manifest.algorithm = it->get<int>();
  }
  manifest.tool_version = text_of(json, "tool_version", path);
  manifest.inputs = hashes(json, "inputs", path);
  manifest.outputs = hashes(json, "outputs", path);
  for (const char* key : {"options", "metrics"})
    ESP_CHECK(json.contains(key) && json[key].is_object(), input, path, ": key \"", key,
              "\" is missing or not an object");
  manifest.options = json["options"];
  manifest.metrics = json["metrics"];
  return manifest;
}

}  // namespace espalier::checkpoint
