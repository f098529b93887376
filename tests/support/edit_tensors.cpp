// SPDX-License-Identifier: Apache-2.0
#include "support/edit_tensors.h"

#include <filesystem>

#include "format/safetensors.h"

namespace espalier::support {

void RawTensor::set(std::int64_t index, float value) {
  const format::QuantFormat& f = format::info(dtype);
  f.encode(&value, nullptr, bytes.data() + index * f.block_bytes, 1);
}

RawTensor RawTensor::as(format::FormatId other) const {
  const format::QuantFormat &from = format::info(dtype), &to = format::info(other);
  const auto n = static_cast<std::int64_t>(bytes.size()) / from.block_bytes;
  std::vector<float> values(static_cast<std::size_t>(n));
  from.decode(bytes.data(), values.data(), n);
  RawTensor out{other, shape, std::vector<std::byte>(static_cast<std::size_t>(n * to.block_bytes))};
  to.encode(values.data(), nullptr, out.bytes.data(), n);
  return out;
}

void edit_tensors(const std::string& directory, const std::function<void(RawTensors&)>& edit,
                  std::uint64_t max_shard_bytes) {
  RawTensors tensors;
  {
    const auto set = format::SafetensorsSet::open_directory(directory);
    for (const format::SafeTensor& t : set.tensors()) {
      RawTensor& raw = tensors[t.name] = {
          *t.dtype, t.shape, std::vector<std::byte>(static_cast<std::size_t>(t.bytes))};
      set.read(t, 0, raw.bytes);
    }
  }
  edit(tensors);
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (entry.path().filename().string().find("safetensors") != std::string::npos)
      std::filesystem::remove(entry.path());
  format::SafetensorsWriter writer(directory, max_shard_bytes);
  for (const auto& [name, t] : tensors) writer.add_tensor(name, t.dtype, t.shape);
  writer.begin();
  for (const auto& [name, t] : tensors) writer.write(t.bytes);
  writer.finish();
}

std::string set_value(const std::string& directory, const std::string& tensor, std::int64_t index,
                      float value) {
  edit_tensors(directory, [&](RawTensors& all) { all.at(tensor).set(index, value); });
  return directory;
}

}  // namespace espalier::support
