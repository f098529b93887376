// SPDX-License-Identifier: Apache-2.0
// Reads and writes calibration statistics as GGUF.
#include "quant/imatrix.h"

#include <cmath>
#include <span>

#include "core/error.h"
#include "core/file.h"
#include "format/gguf.h"
#include "quant/imatrix_dat.h"

namespace espalier::quant {
namespace {

using format::FormatId;
using format::GgufValue;

constexpr const char* kGramOf = "espalier.gram_of.";

std::vector<float> read_floats(const core::FileReader& file, const format::GgufTensor& tensor,
                               std::int64_t expected) {
  ESP_CHECK(tensor.format == FormatId::f32, input, file.path(), ": ", tensor.name, " must be f32");
  ESP_CHECK(tensor.cols() * tensor.rows() == expected, input, file.path(), ": ", tensor.name,
            " has ", tensor.cols() * tensor.rows(), " values, expected ", expected);
  std::vector<float> values(static_cast<std::size_t>(expected));
  file.read(tensor.offset, std::as_writable_bytes(std::span(values)));
  for (std::size_t i = 0; i < values.size(); ++i)
    ESP_CHECK(std::isfinite(values[i]), input, file.path(), ": ", tensor.name, "[", i, "] is ",
              values[i]);
  return values;
}

std::span<const std::byte> bytes_of(const std::vector<float>& values) {
  return std::as_bytes(std::span(values));
}

Matrices matrices_of(const arch::Arch& arch, const arch::ModelDims& dims) {
  Matrices out;
  for (const arch::TensorRef& t : arch::tensors(arch, dims))
    if (!t.is_vector) out.emplace(arch::gguf_name(t.spec->role, t.layer), t);
  return out;
}

// In either byte order. A file of another kind is an old imatrix, or says what is wrong.
bool begins_as_gguf(const core::FileReader& file) {
  char magic[4] = {};
  if (file.size() < sizeof magic) return false;
  file.read(0, std::as_writable_bytes(std::span(magic)));
  return std::string_view(magic, 4) == "GGUF" || std::string_view(magic, 4) == "FUGG";
}

}  // namespace

const TensorStatistics* Imatrix::find(arch::Role role, int layer) const {
  const auto found = tensors.find({role, layer});
  return found == tensors.end() ? nullptr : &found->second;
}

void write_imatrix(const Imatrix& imatrix, const std::string& path, bool with_gram) {
  format::GgufWriter writer(path);
  writer.set("general.type", GgufValue::string("imatrix"));
  writer.set("imatrix.datasets", GgufValue::strings({imatrix.dataset}));
  const std::int64_t chunk = imatrix.sequence;
  writer.set("imatrix.chunk_count",
             GgufValue::u32(static_cast<std::uint32_t>((imatrix.tokens + chunk - 1) / chunk)));
  writer.set("imatrix.chunk_size", GgufValue::u32(static_cast<std::uint32_t>(chunk)));
  writer.set("espalier.text_sha256", GgufValue::string(imatrix.text_sha256));
  std::map<const void*, std::string> owners;
  for (const auto& [key, t] : imatrix.tensors) {
    const std::string name = arch::gguf_name(key.first, key.second);
    const auto cols = static_cast<std::int64_t>(t.sum_squares.size());
    writer.add_tensor(name + ".in_sum2", {cols, 1}, FormatId::f32);
    writer.add_tensor(name + ".counts", {1, 1}, FormatId::f32);
    if (!with_gram || t.gram == nullptr) continue;
    const auto [owner, is_new] = owners.emplace(t.gram.get(), name);
    if (is_new)
      writer.add_tensor(name + ".in_gram", {cols, cols}, FormatId::f32);
    else
      writer.set(kGramOf + name, GgufValue::string(owner->second));
  }
  writer.begin();
  for (const auto& [key, t] : imatrix.tensors) {
    writer.write(bytes_of(std::vector<float>(t.sum_squares.begin(), t.sum_squares.end())));
    writer.write(bytes_of({static_cast<float>(t.tokens)}));
    if (!with_gram || t.gram == nullptr) continue;
    if (owners.at(t.gram.get()) == arch::gguf_name(key.first, key.second))
      writer.write(bytes_of(*t.gram));
  }
  writer.finish();
}

Imatrix read_imatrix(const std::string& path, const arch::Arch& arch, const arch::ModelDims& dims) {
  const core::FileReader file(path);
  if (!begins_as_gguf(file)) return read_imatrix_dat(file, matrices_of(arch, dims));
  const format::GgufHeader header = format::GgufHeader::read(file);
  ESP_CHECK(header.optional_text("general.type") == "imatrix", input, path,
            ": not an imatrix (general.type is not \"imatrix\"); write one with espalier calibrate "
            "or llama-imatrix");
  Imatrix out;
  out.text_sha256 = header.optional_text("espalier.text_sha256").value_or("");
  if (const format::GgufArray* datasets = header.optional_array("imatrix.datasets");
      datasets != nullptr && !datasets->strings.empty())
    out.dataset = datasets->strings.front();
  out.sequence = header.optional_integer("imatrix.chunk_size").value_or(out.sequence);
  ESP_CHECK(out.sequence > 0 && out.sequence < (std::int64_t{1} << 31), input, path,
            ": imatrix.chunk_size is ", out.sequence);

  const Matrices matrices = matrices_of(arch, dims);
  for (const format::GgufTensor& t : header.tensors()) {
    const std::string weight = t.name.substr(0, t.name.rfind('.'));
    ESP_CHECK(matrices.count(weight) != 0, input, path, ": holds ", t.name,
              ", but the model has no matrix ", weight, "; the imatrix is of another model");
  }
  std::map<std::string, std::shared_ptr<const std::vector<float>>> grams;
  for (const auto& [name, ref] : matrices) {
    const format::GgufTensor* squares = header.tensor(name + ".in_sum2");
    const format::GgufTensor* counts = header.tensor(name + ".counts");
    ESP_CHECK((squares == nullptr) == (counts == nullptr), input, path, ": ", name,
              " needs both .in_sum2 and .counts");
    if (squares == nullptr) continue;
    ESP_CHECK(squares->cols() == ref.cols, input, path, ": ", squares->name, " has ",
              squares->cols(), " values, but the model's matrix has ", ref.cols,
              " columns; the imatrix is of another model: calibrate this one");
    TensorStatistics t;
    const std::vector<float> values = read_floats(file, *squares, ref.cols);
    for (std::size_t i = 0; i < values.size(); ++i)
      ESP_CHECK(values[i] >= 0, input, path, ": ", squares->name, "[", i, "] is negative");
    t.sum_squares.assign(values.begin(), values.end());
    t.tokens = static_cast<double>(read_floats(file, *counts, 1)[0]);
    ESP_CHECK(t.tokens >= 0, input, path, ": ", counts->name, " is ", t.tokens);
    if (t.tokens == 0) continue;
    out.tokens = std::max(out.tokens, static_cast<std::int64_t>(t.tokens));
    if (const format::GgufTensor* gram = header.tensor(name + ".in_gram"))
      grams[name] = t.gram =
          std::make_shared<const std::vector<float>>(read_floats(file, *gram, ref.cols * ref.cols));
    out.tensors.emplace(std::pair(ref.spec->role, ref.layer), std::move(t));
  }
  for (auto& [key, t] : out.tensors) {
    const std::string name = arch::gguf_name(key.first, key.second);
    const std::optional<std::string> owner = header.optional_text(kGramOf + name);
    if (!owner) continue;
    const auto found = grams.find(*owner);
    ESP_CHECK(found != grams.end() &&
                  found->second->size() == t.sum_squares.size() * t.sum_squares.size(),
              input, path, ": ", kGramOf, name, " names ", *owner,
              ", which has no second moments of that width");
    t.gram = found->second;
  }
  return out;
}

}  // namespace espalier::quant
