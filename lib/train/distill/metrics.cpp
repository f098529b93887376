// SPDX-License-Identifier: Apache-2.0
// Writes and reads metrics.jsonl.
#include "distill/metrics.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace espalier::distill {

namespace fs = std::filesystem;

MetricsLog::MetricsLog(const std::string& path, std::uint64_t keep_bytes)
    : path_(path), bytes_(keep_bytes) {
  std::error_code error;
  const std::uint64_t have = fs::exists(path) ? fs::file_size(path, error) : 0;
  ESP_CHECK(have >= keep_bytes, input, path, ": has ", have,
            " bytes, but the checkpoint was written after ", keep_bytes,
            "; the file was changed since then; remove the output directory to start over");
  if (have > keep_bytes) fs::resize_file(path, keep_bytes, error);
  ESP_CHECK(!error, input, path, ": cannot be truncated to ", keep_bytes,
            " bytes: ", error.message());
  file_ = std::fopen(path.c_str(), "ab");
  ESP_CHECK(file_ != nullptr, input, path, ": cannot open for writing: ", std::strerror(errno));
}
MetricsLog::~MetricsLog() {
  if (file_ != nullptr) std::fclose(file_);
}

void MetricsLog::write(const StepMetrics& m) {
  // As many digits as a float has.
  const auto number = [](double value) {
    if (!std::isfinite(value)) return std::string("null");
    char out[40];
    std::snprintf(out, sizeof out, "%.9g", value);
    return std::string(out);
  };
  std::string terms;
  for (const auto& [name, value] : m.terms) terms += ",\"" + name + "\":" + number(value);
  const std::string line =
      "{\"step\":" + std::to_string(m.step) + ",\"tokens\":" + std::to_string(m.tokens) +
      ",\"loss\":" + number(m.loss) + terms + ",\"learning_rate\":" + number(m.learning_rate) +
      ",\"grad_norm\":" + number(m.grad_norm) +
      ",\"tokens_per_second\":" + number(m.tokens_per_second) + "}\n";
  const bool whole =
      std::fwrite(line.data(), 1, line.size(), file_) == line.size() && std::fflush(file_) == 0;
  ESP_CHECK(whole, input, path_, ": cannot write: ", std::strerror(errno));
  bytes_ += line.size();
}

double median_speed(const std::string& path) {
  std::ifstream in(path);
  std::vector<double> speeds;
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("tokens_per_second") &&
        json["tokens_per_second"].is_number())
      speeds.push_back(json["tokens_per_second"].get<double>());
  }
  if (speeds.empty()) return 0;
  std::nth_element(speeds.begin(), speeds.begin() + static_cast<std::ptrdiff_t>(speeds.size() / 2),
                   speeds.end());
  return speeds[speeds.size() / 2];
}

}  // namespace espalier::distill
