// SPDX-License-Identifier: Apache-2.0
// The device card: parity (legs A, B, C), quality, size, memory and speed of one GGUF, with gates.
#pragma once
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/progress.h"
#include "verify/evaluate.h"

namespace espalier::verify {

struct Compared {
  std::string name,
      path;  // a directory, or a GGUF, which the device runtime runs as it does the file itself
};
struct VerifyOptions {
  std::string teacher;  // --against
  std::string student;  // the float student the file was made from; may be empty
  std::string text_path;
  std::int64_t context = 512, max_windows = 0;  // windows evenly spaced over the text; 0: all
  std::string
      bench_program;  // path of espalier-run; speed, RSS and ISA come from a child process of it
  int threads = 0;
  std::vector<Compared> compare;  // baselines, measured on the same windows in the same pass
  bool with_speed = true;
  std::map<std::string, std::string> lineage;  // name -> sha256 of what the file was made from
  nlohmann::json gates;  // {"perplexity_ratio_max": 1.12, "file_bytes_max": .., ...}; unknown gate
                         // names are refused
};
struct VerifyResult {
  nlohmann::ordered_json card;
  bool passed = true;  // all gates
};
VerifyResult verify(const std::string& gguf, const VerifyOptions& options,
                    const core::Progress& progress);
// Names a gates file may use: "<card value>_max" or "<card value>_min", e.g. perplexity_ratio_max,
// file_bytes_max, kl_mean_max, same_top1_min, decode_tokens_per_second_min, peak_rss_bytes_max,
// parameters_ratio_max.
const std::vector<std::string>& gate_names();
std::string readable_card(const nlohmann::ordered_json& card);

}  // namespace espalier::verify
