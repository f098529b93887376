// SPDX-License-Identifier: Apache-2.0
// Saves, finds and loads checkpoints of a training run.
#include "distill/train_state.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace espalier::distill {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian");

constexpr const char* kFormat = "espalier-train-state-1";
constexpr std::string_view kPrefix = "step-";

std::string root(const std::string& out) { return out + "/checkpoint"; }
std::string place(const std::string& out, std::int64_t step) {
  return root(out) + "/step-" + std::to_string(step);
}

// The steps of the complete checkpoints, ascending.
std::vector<std::int64_t> steps(const std::string& out) {
  std::vector<std::int64_t> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root(out), error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    std::int64_t step = 0;
    const auto [end, bad] =
        std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
    if (bad == std::errc() && end == name.data() + name.size()) found.push_back(step);
  }
  std::sort(found.begin(), found.end());
  return found;
}

struct Part {
  const char* name;
  float* values;
};
std::vector<Part> parts(Parameters& p) {
  return {{"parameters.f32", p.values()},
          {"first_moment.f32", p.first_moment()},
          {"second_moment.f32", p.second_moment()}};
}
std::span<std::byte> bytes_of(float* values, std::int64_t n) {
  return std::as_writable_bytes(std::span(values, static_cast<std::size_t>(n)));
}

}  // namespace

void save_state(const std::string& out, const TrainState& state, Parameters& parameters) {
  std::error_code error;
  fs::create_directories(root(out), error);
  ESP_CHECK(!error, input, root(out), ": cannot create the directory: ", error.message());
  core::require_free_disk(
      root(out), 3 * static_cast<std::uint64_t>(parameters.size()) * sizeof(float) + (1 << 20));
  const std::string staging = root(out) + "/incomplete";
  fs::remove_all(staging, error);
  fs::create_directory(staging, error);
  ESP_CHECK(!error, input, staging, ": cannot create the directory: ", error.message());
  for (const Part& part : parts(parameters)) {
    core::AtomicFile file(staging + "/" + part.name);
    file.write(bytes_of(part.values, parameters.size()));
    file.commit();
  }
  const Json json{{"format", kFormat},
                  {"step", state.step},
                  {"metrics_bytes", state.metrics_bytes},
                  // As bits, so that a resumed run reports the same number.
                  {"loss_first", std::bit_cast<std::uint64_t>(state.loss_first)},
                  {"loss_last", std::bit_cast<std::uint64_t>(state.loss_last)},
                  {"threads", state.threads},
                  {"run", state.run},
                  {"values", parameters.size()}};
  core::write_text_file(staging + "/state.json", json.dump(2) + "\n");
  const std::string target = place(out, state.step);
  fs::remove_all(target, error);
  fs::rename(staging, target, error);
  ESP_CHECK(!error, input, target, ": cannot move the checkpoint into place: ", error.message());
  for (const std::int64_t step : steps(out))
    if (step < state.step) fs::remove_all(place(out, step), error);
}

std::optional<TrainState> find_state(const std::string& out) {
  const std::vector<std::int64_t> found = steps(out);
  if (found.empty()) return std::nullopt;
  const std::string path = place(out, found.back()) + "/state.json";
  try {
    const Json json = Json::parse(core::read_text_file(path, 1 << 20));
    ESP_CHECK(json.at("format").get<std::string>() == kFormat, input, path,
              ": key \"format\" is not \"", kFormat, "\"");
    TrainState state;
    state.step = json.at("step").get<std::int64_t>();
    state.metrics_bytes = json.at("metrics_bytes").get<std::uint64_t>();
    state.loss_first = std::bit_cast<double>(json.at("loss_first").get<std::uint64_t>());
    state.loss_last = std::bit_cast<double>(json.at("loss_last").get<std::uint64_t>());
    state.threads = json.at("threads").get<int>();
    state.run = json.at("run").get<std::string>();
    ESP_CHECK(state.step == found.back() && state.threads > 0, input, path, ": step ", state.step,
              " and ", state.threads, " threads do not fit the directory's name");
    return state;
  } catch (const Json::exception& error) {
    core::fail(core::ErrorKind::input, path, ": broken checkpoint: ", error.what(), "; remove ",
               root(out), " to start over");
  }
}

void load_parameters(const std::string& out, const TrainState& state, Parameters& parameters) {
  for (const Part& part : parts(parameters)) {
    const core::FileReader file(place(out, state.step) + "/" + part.name);
    const auto target = bytes_of(part.values, parameters.size());
    ESP_CHECK(file.size() == target.size(), input, file.path(), ": has ", file.size(),
              " bytes, expected ", target.size(), "; remove ", root(out), " to start over");
    file.read(0, target);
  }
}

void remove_states(const std::string& out) {
  std::error_code error;
  fs::remove_all(root(out), error);
  ESP_CHECK(!error, input, root(out), ": cannot remove the old checkpoint: ", error.message());
}

}  // namespace espalier::distill
