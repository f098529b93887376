// SPDX-License-Identifier: Apache-2.0
// Reads and writes manifest.json.
#include "checkpoint/manifest.h"

#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "format/json_input.h"

namespace espalier::checkpoint {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kFormat = "espalier-manifest-1";
constexpr std::uint64_t kMaxBytes = 64 << 20;

std::string manifest_path(const std::string& directory) { return directory + "/manifest.json"; }

std::map<std::string, std::string> hashes(const Json& json, const char* key,
                                          const std::string& path) {
  std::map<std::string, std::string> out;
  const auto it = json.find(key);
  ESP_CHECK(it != json.end() && it->is_object(), input, path, ": key \"", key,
            "\" is missing or not an object");
  for (const auto& [name, hash] : it->items()) {
    ESP_CHECK(hash.is_string(), input, path, ": key \"", key, ".", name, "\" is not a string");
    out[name] = hash.get<std::string>();
  }
  return out;
}

std::string text_of(const Json& json, const char* key, const std::string& path) {
  const auto it = json.find(key);
  ESP_CHECK(it != json.end() && it->is_string(), input, path, ": key \"", key,
            "\" is missing or not a string");
  return it->get<std::string>();
}

}  // namespace

std::string tool_version() { return "espalier 0.1.0"; }

void write_manifest(const std::string& directory, const Manifest& manifest) {
  Json json;
  json["format"] = kFormat;
  json["stage"] = manifest.stage;
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
