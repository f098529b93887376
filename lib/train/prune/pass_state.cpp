// SPDX-License-Identifier: Apache-2.0
// Saves and restores the pruning pass.
#include "prune/pass_state.h"

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "format/json_input.h"
#include "format/safetensors.h"

namespace espalier::prune {
namespace {

using Json = nlohmann::json;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::span<const std::byte> bytes_of(const torch::Tensor& t) {
  return {static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()};
}

// Writes float32 tensors and a description as one file.
void write_tensors(const std::string& path,
                   const std::vector<std::pair<std::string, torch::Tensor>>& tensors,
                   const Json& about) {
  format::SafetensorsWriter writer(path);
  writer.set_metadata("about", about.dump());
  for (const auto& [name, t] : tensors)
    writer.add_tensor(name, format::FormatId::f32, t.sizes().vec());
  writer.begin();
  for (const auto& [name, t] : tensors) writer.write(bytes_of(t.contiguous()));
  writer.finish();
}

torch::Tensor read_tensor(const format::SafetensorsSet& set, const std::string& path,
                          const format::SafeTensor& tensor) {
  ESP_CHECK(tensor.dtype == format::FormatId::f32, input, path, ": tensor '", tensor.name,
            "' is not F32");
  torch::Tensor out = torch::empty(tensor.shape, torch::kFloat32);
  set.read(tensor, 0, {static_cast<std::byte*>(out.mutable_data_ptr()), out.nbytes()});
  return out;
}

}  // namespace

PassState::PassState(std::string folder, std::string run, std::vector<std::int64_t> keep_layers,
                     double share)
    : folder_(std::move(folder)),
      run_(std::move(run)),
      keep_layers_(std::move(keep_layers)),
      share_(share),
      last_save_(now()) {}

std::string PassState::name_of(arch::Role role, std::size_t k) const {
  return std::string(arch::role_name(role)) + "." + std::to_string(keep_layers_.at(k));
}
std::string PassState::layer_file(std::size_t k) const {
  return folder_ + "/layer-" + std::to_string(k) + ".safetensors";
}
std::string PassState::streams_file() const { return folder_ + "/streams.safetensors"; }

void PassState::load(layerwise::Walk& walk, layerwise::Follow& follow) {
  if (!std::filesystem::exists(streams_file())) return;
  try {
    const auto streams = format::SafetensorsSet::open_file(streams_file());
    const Json about = format::parse_json<Json>(streams.metadata().at("about"), streams_file());
    ESP_CHECK(about.at("run") == run_, input, folder_,
              ": was made with other options or inputs; choose another directory, or omit --resume "
              "to start over");
    const auto take = [&](const char* name, torch::Tensor& states) {
      const format::SafeTensor* tensor = streams.find(name);
      ESP_CHECK(tensor != nullptr && tensor->shape == states.sizes().vec(), input, streams_file(),
                ": tensor '", name, "' is missing or of another shape");
      states = read_tensor(streams, streams_file(), *tensor);
    };
    take("exact", walk.stream().states);
    take("edited", follow.edited().states);
    std::vector<layerwise::EditedLayer> layers(about.at("layers").get<std::size_t>());
    for (std::size_t k = 0; k < layers.size(); ++k) {
      const auto layer = format::SafetensorsSet::open_file(layer_file(k));
      const Json decided = format::parse_json<Json>(layer.metadata().at("about"), layer_file(k));
      ESP_CHECK(decided.at("run") == run_, input, layer_file(k),
                ": belongs to another run; remove ", folder_, " to start over");
      for (const auto& [axis, kept] : decided.at("kept").items())
        layers[k].kept[static_cast<arch::Axis>(std::stoi(axis))] =
            kept.get<std::vector<std::int64_t>>();
      for (const Json& role : decided.at("refitted")) {
        const auto key = static_cast<arch::Role>(role.get<int>());
        const format::SafeTensor* tensor = layer.find(name_of(key, k));
        ESP_CHECK(tensor != nullptr, input, layer_file(k), ": tensor '", name_of(key, k),
                  "' is missing");
        layers[k].refitted[key] = read_tensor(layer, layer_file(k), *tensor);
      }
    }
    kept_ = layers.size();
    walk.go_on_from(about.at("next").get<int>());
    follow.go_on_from(std::move(layers), about.at("streams_differ").get<bool>());
  } catch (const std::exception& error) {
    if (const auto* known = dynamic_cast<const core::Error*>(&error)) throw *known;
    core::fail(core::ErrorKind::input, folder_, ": broken (", error.what(),
               "); remove it to start over");
  }
}

void PassState::save(layerwise::Walk& walk, layerwise::Follow& follow) {
  for (; kept_ < follow.layers().size(); ++kept_) {
    const layerwise::EditedLayer& layer = follow.layers()[kept_];
    Json about = {{"run", run_}, {"kept", Json::object()}, {"refitted", Json::array()}};
    for (const auto& [axis, kept] : layer.kept)
      about["kept"][std::to_string(static_cast<int>(axis))] = kept;
    std::vector<std::pair<std::string, torch::Tensor>> tensors;
    for (const auto& [role, weights] : layer.refitted) {
      about["refitted"].push_back(static_cast<int>(role));
      tensors.emplace_back(name_of(role, kept_), weights);
    }
    write_tensors(layer_file(kept_), tensors, about);
  }
  write_tensors(streams_file(),
                {{"exact", walk.stream().states}, {"edited", follow.edited().states}},
                {{"run", run_},
                 {"layers", follow.layers().size()},
                 {"next", walk.next()},
                 {"streams_differ", follow.streams_differ()}});
}

void PassState::layer_done(layerwise::Walk& walk, layerwise::Follow& follow) {
  const double start = now();
  if (!save_error_.empty() || (share_ < 1 && (start - last_save_) * share_ < seconds_to_save_))
    return;
  try {
    save(walk, follow);
  } catch (const core::Error& error) {
    save_error_ = std::string("the state to resume from could not be kept: ").append(error.what());
    remove(folder_);
    return;
  }
  last_save_ = now();
  seconds_to_save_ = last_save_ - start;
}

void PassState::remove(const std::string& folder) {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

}  // namespace espalier::prune
