// SPDX-License-Identifier: Apache-2.0
// Descriptions of GGUF files, and what becomes of them.
#include "checkpoint/description.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/sampling_keys.h"
#include "core/parts.h"
#include "text/end_tokens.h"

namespace espalier::checkpoint {
namespace {

using format::GgufType;
using format::GgufValue;

constexpr std::string_view kMade[] = {"general.architecture",        "general.type",
                                      "general.file_type",           "general.quantization_version",
                                      "general.alignment",           "general.tensor_extra.name",
                                      "general.tensor_extra.prec_a4"};
// Ids that the tokenizer's data hold.
constexpr std::string_view kOwnIds[] = {
    "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.padding_token_id"};
// Of the model itself, not of those made from it.
constexpr std::string_view kItsOwn[] = {
    "general.name", "general.size_label", "general.quantized_by", "general.uuid",
    "general.doi",  "general.url",        "general.repo_url"};

template <std::size_t n>
bool among(const std::string_view (&keys)[n], std::string_view key) {
  return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}

bool goes_along(std::string_view key, std::string_view architecture) {
  if (key.starts_with("tokenizer."))
    return key.starts_with("tokenizer.ggml.") && key.ends_with("_token_id") && !among(kOwnIds, key);
  if (key.starts_with("espalier.")) return key.starts_with("espalier.lineage.");
  return !among(kMade, key) && !key.starts_with("split.") &&
         !(key.starts_with(architecture) && key.substr(architecture.size()).starts_with("."));
}

// The shortest decimal that gives the same float: 0.7, not 0.699999988.
double shortest(double stored) {
  char text[32];
  for (int digits = 1; digits <= 9; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, stored);
    if (std::strtof(text, nullptr) == static_cast<float>(stored)) return std::strtod(text, nullptr);
  }
  return stored;
}

std::int64_t count_of(const Description& description, const std::string& key) {
  const GgufValue* value = find(description, key);
  if (value == nullptr) return 0;
  if (const auto* n = std::get_if<std::uint64_t>(&value->value))
    return static_cast<std::int64_t>(*n);
  const auto* n = std::get_if<std::int64_t>(&value->value);
  return n != nullptr ? *n : 0;
}

}  // namespace

const GgufValue* find(const Description& description, std::string_view key) {
  const auto found = std::find_if(description.begin(), description.end(),
                                  [&](const auto& entry) { return entry.first == key; });
  return found == description.end() ? nullptr : &found->second;
}

Description description_of(const format::GgufHeader& header) {
  Description out;
  const std::string architecture = header.optional_text("general.architecture").value_or("");
  for (const auto& [key, value] : header.metadata())
    if (goes_along(key, architecture)) out.emplace_back(key, value);
  return out;
}

Description derived(const Description& description, const std::string& parent) {
  const std::string count = "general.base_model.count", base = "general.base_model.";
  const std::int64_t n = count_of(description, count);
  const bool adds = !parent.empty();
  Description out;
  for (const auto& [key, value] : description) {
    if (among(kItsOwn, key) || !key.starts_with("general.")) continue;
    if (key == count) continue;
    if (!adds || !key.starts_with(base)) {
      out.emplace_back(key, value);
      continue;
    }
    const std::size_t dot = key.find('.', base.size());
    const std::string index = key.substr(base.size(), dot - base.size());
    if (dot == std::string::npos || index.empty() || index.size() > 4 ||
        index.find_first_not_of("0123456789") != std::string::npos)
      continue;
    out.emplace_back(base + std::to_string(std::stoi(index) + 1) + key.substr(dot), value);
  }
  if (adds) out.emplace_back(base + "0.name", GgufValue::string(parent));
  if (n + adds > 0) out.emplace_back(count, GgufValue::u32(static_cast<std::uint32_t>(n + adds)));
  return out;
}

// EOS, and what ends a turn and a message, where it is another token.
static std::vector<std::int64_t> ends_of(const format::GgufHeader& header) {
  std::vector<std::int64_t> out;
  for (const char* key : text::end_keys().first(text::kEndsOfText))
    if (const auto id = text::stated_id(header, key);
        id && std::find(out.begin(), out.end(), *id) == out.end())
      out.push_back(*id);
  return out;
}

std::string generation_config_of(const Description& description, const format::GgufHeader& header) {
  nlohmann::ordered_json out;
  for (const SamplingKey& key : kSamplingKeys)
    if (const GgufValue* value = find(description, key.gguf)) {
      if (const auto* real = std::get_if<double>(&value->value)) out[key.config] = shortest(*real);
      if (const auto* n = std::get_if<std::int64_t>(&value->value)) out[key.config] = *n;
      if (const auto* n = std::get_if<std::uint64_t>(&value->value)) out[key.config] = *n;
    }
  const std::vector<std::int64_t> ends = ends_of(header);
  if (out.empty() && ends.size() < 2) return "";
  if (!out.empty()) out["do_sample"] = true;
  const auto id = [&](const char* key, const char* gguf) {
    if (const auto value = text::stated_id(header, gguf)) out[key] = *value;
  };
  id("bos_token_id", "tokenizer.ggml.bos_token_id");
  id("eos_token_id", "tokenizer.ggml.eos_token_id");
  if (ends.size() > 1) out["eos_token_id"] = ends;
  id("pad_token_id", "tokenizer.ggml.padding_token_id");
  return out.dump(2) + "\n";
}

std::string model_name(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code unreadable;
  if (!fs::is_directory(path, unreadable)) {
    if (const auto part = core::part_name(path)) return fs::path(part->prefix).filename().string();
    return fs::path(path).stem().string();
  }
  fs::path folder = fs::absolute(path, unreadable).lexically_normal();
  if (folder.filename().empty()) folder = folder.parent_path();
  if (folder.filename() == "model" && folder.parent_path().parent_path().filename() == "stages")
    return folder.parent_path().filename().string();
  const std::string repository = folder.parent_path().parent_path().filename().string();
  constexpr std::string_view kCached = "models--";
  if (folder.parent_path().filename() != "snapshots" || !repository.starts_with(kCached))
    return folder.filename().string();
  const std::string name = repository.substr(kCached.size());
  const std::size_t owner = name.find("--");
  return owner == std::string::npos ? name : name.substr(owner + 2);
}

}  // namespace espalier::checkpoint
