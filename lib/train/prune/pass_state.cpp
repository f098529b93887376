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

Json to_json(const plan::Selection& s) { return s ? Json(*s) : Json(nullptr); }
plan::Selection selection(const Json& json) {
  return json.is_null() ? plan::Selection()
                        : plan::Selection(json.get<std::vector<std::int64_t>>());
}

// "ffn_down.7"
std::string name_of(const std::pair<arch::Role, int>& place) {
  return std::string(arch::role_name(place.first)) + "." + std::to_string(place.second);
}

}  // namespace

PassState::PassState(std::string folder, std::string run, std::vector<std::int64_t> keep_layers,
                     double share)
    : folder_(std::move(folder)),
      run_(std::move(run)),
      keep_layers_(std::move(keep_layers)),
      share_(share),
      last_save_(now()) {}

std::string PassState::layer_file(std::size_t k) const {
  return folder_ + "/layer-" + std::to_string(k) + ".safetensors";
}
std::string PassState::streams_file() const { return folder_ + "/streams.safetensors"; }

std::optional<PassState::Position> PassState::load(std::vector<torch::Tensor>& dense,
                                                   std::vector<torch::Tensor>& pruned,
                                                   SequentialResult& so_far) {
  if (!std::filesystem::exists(streams_file())) return std::nullopt;
  try {
    const auto streams = format::SafetensorsSet::open_file(streams_file());
    const Json about = format::parse_json<Json>(streams.metadata().at("about"), streams_file());
    ESP_CHECK(about.at("run") == run_, input, folder_,
              ": was made with other options or inputs; choose another directory, or omit --resume "
              "to start over");
    const Position out{about.at("layers").get<std::size_t>(), about.at("dense_at").get<int>(),
                       about.at("drifted").get<bool>()};
    for (const auto& [name, batches] : {std::pair("dense.", &dense), std::pair("pruned.", &pruned)})
      for (std::size_t b = 0; b < batches->size(); ++b) {
        const format::SafeTensor* tensor = streams.find(name + std::to_string(b));
        ESP_CHECK(tensor != nullptr && tensor->shape == (*batches)[b].sizes().vec(), input,
                  streams_file(), ": tensor '", name, b, "' is missing or of another shape");
        (*batches)[b] = read_tensor(streams, streams_file(), *tensor);
      }
    for (std::size_t k = 0; k < out.layers; ++k) {
      const auto layer = format::SafetensorsSet::open_file(layer_file(k));
      const Json decided = format::parse_json<Json>(layer.metadata().at("about"), layer_file(k));
      ESP_CHECK(decided.at("run") == run_, input, layer_file(k),
                ": belongs to another run; remove ", folder_, " to start over");
      so_far.layers.push_back(
          {.kv_groups = selection(decided.at("kv_groups")), .ffn = selection(decided.at("ffn"))});
      for (const Json& place : decided.at("refitted")) {
        const std::pair<arch::Role, int> key{static_cast<arch::Role>(place.at(0).get<int>()),
                                             place.at(1).get<int>()};
        const format::SafeTensor* tensor = layer.find(name_of(key));
        ESP_CHECK(tensor != nullptr, input, layer_file(k), ": tensor '", name_of(key),
                  "' is missing");
        so_far.replaced[key] = read_tensor(layer, layer_file(k), *tensor);
      }
    }
    kept_ = out.layers;
    return out;
  } catch (const std::exception& error) {
    if (const auto* known = dynamic_cast<const core::Error*>(&error)) throw *known;
    core::fail(core::ErrorKind::input, folder_, ": broken (", error.what(),
               "); remove it to start over");
  }
}

void PassState::save(const Position& position, const std::vector<torch::Tensor>& dense,
                     const std::vector<torch::Tensor>& pruned, const SequentialResult& so_far) {
  for (; kept_ < position.layers; ++kept_) {
    const plan::LayerSelection& s = so_far.layers[kept_];
    Json about = {{"run", run_},
                  {"kv_groups", to_json(s.kv_groups)},
                  {"ffn", to_json(s.ffn)},
                  {"refitted", Json::array()}};
    std::vector<std::pair<std::string, torch::Tensor>> tensors;
    for (const auto& [place, weights] : so_far.replaced) {
      if (place.second != keep_layers_.at(kept_)) continue;
      about["refitted"].push_back({static_cast<int>(place.first), place.second});
      tensors.emplace_back(name_of(place), weights);
    }
    write_tensors(layer_file(kept_), tensors, about);
  }
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  for (std::size_t b = 0; b < dense.size(); ++b)
    tensors.emplace_back("dense." + std::to_string(b), dense[b]);
  for (std::size_t b = 0; b < pruned.size(); ++b)
    tensors.emplace_back("pruned." + std::to_string(b), pruned[b]);
  write_tensors(streams_file(), tensors,
                {{"run", run_},
                 {"layers", position.layers},
                 {"dense_at", position.dense_at},
                 {"drifted", position.pruned_differs}});
}

void PassState::layer_done(const Position& position, const std::vector<torch::Tensor>& dense,
                           const std::vector<torch::Tensor>& pruned,
                           const SequentialResult& so_far) {
  const double start = now();
  if (!save_error_.empty() || (share_ < 1 && (start - last_save_) * share_ < seconds_to_save_))
    return;
  try {
    save(position, dense, pruned, so_far);
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
