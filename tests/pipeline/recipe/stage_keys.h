// SPDX-License-Identifier: Apache-2.0
// A small recipe with one stage of any kind at its end, for tests over every key that a recipe may
// have.
#pragma once
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/file.h"
#include "recipe/step.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::recipe {

// Key -> value as YAML. An empty value takes the key away from the defaults.
using Keys = std::map<std::string, std::string>;

inline const std::vector<std::string>& kinds() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const stages::Kind* kind : stages::all_kinds()) out.emplace_back(kind->name);
    return out;
  }();
  return names;
}

inline Keys defaults_of(const std::string& kind) {
  static const std::map<std::string, Keys> all{
      {"prune", {{"from", "teacher"}}},
      {"distill", {{"from", "cut"}, {"tokens", "1k"}}},
      {"quantize", {{"from", "cut"}, {"format", "q8_0"}}},
      {"verify", {{"of", "small"}}},
      {"average", {{"from", "[cut, other]"}}},
      {"external", {{"command", "[x, \"{out}\"]"}, {"inputs", "{student: cut, other: large}"}}},
      {"score", {}},
      {"eval", {}},
      {"cache", {}},
      {"calibrate", {}},
      {"report", {}}};
  Keys keys = all.at(kind);
  keys["name"] = "it";
  keys["kind"] = kind;
  return keys;
}

class RecipeFolder {
 public:
  RecipeFolder() {
    support::write_tiny_llama(dir.file("model"), {.layers = 2, .ffn = 96, .positions = 1024});
    core::write_text_file(dir.file("train.txt"), words("train"));
    core::write_text_file(dir.file("held.txt"), words("held"));
    core::write_text_file(dir.file("task.jsonl"), "{\"text\": \"the last word\"}\n");
    core::write_text_file(dir.file("plan.json"), plan(0));
    core::write_text_file(dir.file("other.json"), plan(32));
  }
  // Keeps 64 of the 96 channels.
  static std::string plan(int first) {
    const std::string layer =
        "{\"ffn\": [\"" + std::to_string(first) + "-" + std::to_string(first + 63) + "\"]}";
    return "{\"keep_layers\": \"all\", \"layers\": [" + layer + ", " + layer + "]}\n";
  }
  static std::string words(const std::string& seed) {
    std::string out;
    for (std::size_t i = 0; i < 1500; ++i)
      out += seed.substr(i % seed.size()) + std::to_string(i * i * 7919 % 997 + seed.size()) +
             (i % 9 != 0 ? " " : ".\n");
    return out;
  }
  static std::string flow(const Keys& keys) {
    std::string out;
    for (const auto& [key, value] : keys)
      if (!value.empty()) out += (out.empty() ? "" : ", ") + key + ": " + value;
    return "{" + out + "}";
  }
  // The recipe's text; `text` and `top`: keys of the text map and of the recipe itself.
  static std::string recipe(const std::string& last_stage, const Keys& top = {},
                            const Keys& text = {}) {
    Keys all{{"name", "r"}, {"teacher", "model"}};
    Keys texts{{"train", "train.txt"}, {"held_out", "held.txt"}};
    for (const auto& [key, value] : text) texts[key] = value;
    all["text"] = flow(texts);
    for (const auto& [key, value] : top) all[key] = value;
    std::string out;
    for (const auto& [key, value] : all)
      if (!value.empty()) out += key + ": " + value + "\n";
    if (!all.contains("stages"))
      out +=
          "stages:\n"
          "  - {name: cut, kind: prune, ffn: 64}\n"
          "  - {name: other, kind: prune, ffn: 32}\n"
          "  - {name: small, kind: quantize, from: cut, format: q4_0}\n"
          "  - {name: large, kind: quantize, from: other, format: q8_0}\n"
          "  - {name: important, kind: calibrate, from: cut}\n"
          "  - {name: scored, kind: score}\n"
          "  - {name: logits, kind: cache}\n"
          "  - {name: logits2, kind: cache, top_k: 8}\n"
          "  - " +
          last_stage + "\n";
    return out;
  }
  Recipe parse(const std::string& yaml) const {
    std::ofstream(dir.file("r.yaml")) << yaml;  // hundreds of them: nothing waits for the disk
    return parse_recipe(dir.file("r.yaml"));
  }
  Recipe parse(const std::string& kind, const Keys& changes, const Keys& top = {},
               const Keys& text = {}) const {
    Keys keys = defaults_of(kind);
    for (const auto& [key, value] : changes) keys[key] = value;
    return parse(recipe(flow(keys), top, text));
  }
  support::TempDir dir;
};

}  // namespace espalier::recipe
