// SPDX-License-Identifier: Apache-2.0
// A comparison as it was read from YAML: what is compared, at which sizes, by which protocol.
// Internal to lib/pipeline/compare.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "recipe/yaml_reader.h"
#include "text/documents.h"

namespace espalier::compare {

struct Text {
  std::string name, path;
};

// What is the same for all schemes.
struct Protocol {
  std::int64_t context = 512, windows = 100;
  std::string scoring = "windows";
  bool divergence = true;
  std::optional<std::int64_t> tokens, sequence;  // of the calibration text
  std::int64_t resamples = 10'000;
};

// A size: keys of a prune stage, such as {ffn: 1024}.
struct Ratio {
  std::string name;
  recipe::YamlMap keys;
};

struct Scheme {
  std::string name, place;  // place: file:line:column
  std::string kind;         // "prune", "external" or "given"
  recipe::YamlMap keys;     // of the stage
  std::string model;        // of a given one: a directory or a GGUF; {ratio} stands for the size
  std::vector<std::string> ratios;   // empty: all
  std::vector<std::uint64_t> seeds;  // empty: those of the comparison
};

// Whether a list of names is empty or has the name.
bool covers(const std::vector<std::string>& names, const std::string& name);

struct Comparison {
  std::string path, name, text;  // text: the contents of the file
  std::string model, model_place;
  std::string calibration, calibration_place;
  std::vector<Text> texts;  // of the evaluation
  text::Reading reading = {};
  Protocol protocol = {};
  std::vector<Ratio> ratios = {};
  std::vector<std::uint64_t> seeds = {};
  std::vector<Scheme> schemes = {};
  // Keys of a distill stage; and which schemes and sizes are distilled, all where empty.
  std::optional<recipe::YamlMap> distill = {};
  std::vector<std::string> distilled_schemes = {}, distilled_ratios = {};
  std::optional<recipe::YamlMap> file = {};  // keys of a quantize stage, for bytes and speed
  bool importance = true, keep_models = false;

  const Scheme* find_scheme(const std::string& scheme) const;
  const Ratio* find_ratio(const std::string& ratio) const;
};

Comparison parse_comparison(const std::string& path);

}  // namespace espalier::compare
