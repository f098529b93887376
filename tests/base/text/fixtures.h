// SPDX-License-Identifier: Apache-2.0
// The small tokenizers of tests/golden/text_* and the texts and ids that scripts/golden/text.py
// stored for them.
#pragma once
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/file.h"
#include "format/gguf.h"
#include "support/temp_dir.h"
#include "text/tokenizer.h"

namespace espalier::text {

inline const std::vector<std::string>& fixture_names() {
  static const std::vector<std::string> names = {"gpt-2",     "smollm", "llama-bpe", "qwen2",
                                                 "qwen35",    "tekken", "gpt-4o",    "spm",
                                                 "metaspace", "gemma"};
  return names;
}
inline std::string golden_path(const std::string& name) {
  return std::string(ESPALIER_SOURCE_DIR "/tests/golden/") + name;
}
inline std::string fixture_directory(const std::string& name) {
  return golden_path("text_" + name);
}
inline nlohmann::json read_json(const std::string& path) {
  return nlohmann::json::parse(core::read_text_file(path));
}

inline std::string from_hex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

// name -> bytes; some are broken UTF-8.
inline std::map<std::string, std::string> stress_texts() {
  std::map<std::string, std::string> texts;
  const nlohmann::json file = read_json(golden_path("text_stress.json"));
  for (const auto& [name, hex] : file.items()) texts[name] = from_hex(hex.get<std::string>());
  return texts;
}

struct GoldenIds {
  std::vector<std::int32_t> plain, parsed;
  std::string decoded;  // of `parsed`, special tokens left out
};
inline std::map<std::string, GoldenIds> golden_ids_in(const std::string& directory) {
  std::map<std::string, GoldenIds> out;
  const nlohmann::json file = read_json(directory + "/golden.json");
  for (const auto& [name, entry] : file.at("texts").items()) {
    out[name] = {entry.at("plain").get<std::vector<std::int32_t>>(),
                 entry.at("parsed").get<std::vector<std::int32_t>>(),
                 from_hex(entry.at("decoded").get<std::string>())};
  }
  return out;
}
inline std::map<std::string, GoldenIds> golden_ids(const std::string& fixture) {
  return golden_ids_in(fixture_directory(fixture));
}

// The data after a passage through a GGUF file without tensors.
inline TokenizerData through_gguf(const TokenizerData& data) {
  const support::TempDir directory;
  const std::string path = directory.file("vocabulary.gguf");
  format::GgufWriter writer(path);
  tokenizer_to_gguf(data, writer);
  writer.begin();
  writer.finish();
  return tokenizer_from_gguf(format::GgufHeader::read(core::FileReader(path)));
}

// The data without the files they came from, so that Hugging Face files are made from scratch.
inline TokenizerData without_files(TokenizerData data) {
  data.hf_tokenizer_json.clear();
  data.hf_tokenizer_model.clear();
  data.hf_tokenizer_config.clear();
  data.hf_special_tokens_map.clear();
  return data;
}

inline TokenizerData through_hf(const TokenizerData& data) {
  const support::TempDir directory;
  tokenizer_to_hf(data, directory.path());
  return tokenizer_from_hf(directory.path());
}

}  // namespace espalier::text
