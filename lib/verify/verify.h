// The device card: parity (legs A, B, C), quality, size, memory and speed of one GGUF, with gates.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "core/progress.h"
#include "verify/evaluate.h"

namespace espalier::verify {

struct VerifyOptions {
  std::string teacher;            // --against
  std::string student;            // the float student the file was made from; may be empty
  std::string text_path;
  std::int64_t context = 512, max_windows = 0;
  std::string bench_program;      // path of espalier-run; speed, RSS and ISA come from a child process of it
  int threads = 0;
  nlohmann::json gates;           // {"perplexity_ratio_max": 1.12, "file_bytes_max": .., ...}; unknown gate names are refused
};
struct VerifyResult {
  nlohmann::ordered_json card;
  bool passed = true;             // all gates
};
VerifyResult verify(const std::string& gguf, const VerifyOptions& options, const core::Progress& progress);
std::string readable_card(const nlohmann::ordered_json& card);

}  // namespace espalier::verify
