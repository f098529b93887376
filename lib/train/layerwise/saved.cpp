// SPDX-License-Identifier: Apache-2.0
// Tensors of any dtype in safetensors.
#include "layerwise/saved.h"

#include <ATen/Parallel.h>

#include <array>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "format/json_input.h"
#include "format/safetensors.h"
#include "hash/sha256.h"

namespace espalier::layerwise {
namespace {

using Json = nlohmann::json;
using torch::Tensor;
static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

constexpr std::size_t kWord = sizeof(float);

std::span<const std::byte> bytes_of(const Tensor& t) {
  return {static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()};
}

Tensor read_tensor(const format::SafetensorsSet& set, const std::string& name, const Json& kind,
                   Tensor out) {
  const auto dtype = static_cast<torch::ScalarType>(kind.at("dtype").get<int>());
  const auto shape = kind.at("shape").get<std::vector<std::int64_t>>();
  ESP_CHECK(dtype == torch::kFloat32 || dtype == torch::kFloat64 || dtype == torch::kInt64 ||
                dtype == torch::kUInt8,
            input, "tensor '", name, "' has an unknown dtype");
  if (!out.defined()) out = torch::empty(shape, dtype);
  ESP_CHECK(out.sizes() == shape && out.scalar_type() == dtype, input, "tensor '", name,
            "' has another shape");
  if (out.numel() == 0) return out;
  const format::SafeTensor* found = set.find(name);
  ESP_CHECK(found != nullptr && found->bytes == (out.nbytes() + kWord - 1) / kWord * kWord, input,
            "tensor '", name, "' is missing or of another size");
  set.read(*found, 0, {static_cast<std::byte*>(out.mutable_data_ptr()), out.nbytes()});
  return out;
}

}  // namespace

void write_saved(const std::string& path, const Saved& saved) {
  format::SafetensorsWriter writer(path);
  Json kinds = Json::object();
  for (const auto& [name, t] : saved.tensors) {
    kinds[name] = {{"dtype", static_cast<int>(t.scalar_type())}, {"shape", t.sizes().vec()}};
    const auto words = static_cast<std::int64_t>((t.nbytes() + kWord - 1) / kWord);
    if (words > 0) writer.add_tensor(name, format::FormatId::f32, {words});
  }
  writer.set_metadata("about", saved.about.dump());
  writer.set_metadata("tensors", kinds.dump());
  writer.begin();
  for (const auto& [name, t] : saved.tensors) {
    writer.write(bytes_of(t.contiguous()));
    const std::array<std::byte, kWord> padding{};
    writer.write(std::span(padding).first((kWord - t.nbytes() % kWord) % kWord));
  }
  writer.finish();
}

Saved read_saved(const std::string& path, Saved out) {
  const auto set = format::SafetensorsSet::open_file(path);
  out.about = format::parse_json<Json>(set.metadata().at("about"), path);
  const Json kinds = format::parse_json<Json>(set.metadata().at("tensors"), path);
  for (const auto& [name, kind] : kinds.items()) {
    Tensor& tensor = out.tensors[name];
    tensor = read_tensor(set, name, kind, tensor);
  }
  return out;
}

std::string identity_of(const Json& options, const Tensor& ids) {
  hash::Sha256 sha;
  sha.update(options.dump());
  sha.update(bytes_of(ids.contiguous()));
  return sha.hex();
}

void begin(checkpoint::WorkFolder& work) {
  if (const int threads = work.begin(); threads > 0) at::set_num_threads(threads);
  work.set_threads(at::get_num_threads());
}

}  // namespace espalier::layerwise
