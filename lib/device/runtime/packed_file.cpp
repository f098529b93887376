// SPDX-License-Identifier: Apache-2.0
// Writes packed files, and checks that a packed file belongs to its model.
#include "runtime/packed_file.h"

#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <vector>

#include "core/error.h"
#include "format/gguf.h"
#include "runtime/weights.h"

namespace espalier::runtime {
namespace {

const std::string kArchitecture = "espalier-packed", kPrefix = "espalier.packed.";
constexpr std::uint32_t kAlignment = 64;  // alignment of each matrix: whole vectors

std::string name_of(const MatrixBytes& m) { return m.tensor.name + "@" + std::to_string(m.first); }

// XXH64 of all bytes of a file. It reads in windows that do not stay in memory.
std::string xxh64(const std::string& path) {
  const core::FileReader file(path);
  const std::unique_ptr<XXH64_state_t, XXH_errorcode (*)(XXH64_state_t*)> state(XXH64_createState(),
                                                                                XXH64_freeState);
  ESP_CHECK(state != nullptr && XXH64_reset(state.get(), 0) == XXH_OK, internal,
            "not enough memory for a hash");
  std::vector<std::byte> window(std::size_t{4} << 20);
  for (std::uint64_t at = 0; at < file.size(); at += window.size()) {
    const std::span<std::byte> part(window.data(), static_cast<std::size_t>(std::min<std::uint64_t>(
                                                       window.size(), file.size() - at)));
    file.read(at, part);
    XXH64_update(state.get(), part.data(), part.size());
  }
  const XXH64_hash_t hash = XXH64_digest(state.get());
  std::string out;
  for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789abcdef"[hash >> shift & 15];
  return out;
}

std::int64_t rows_of(const kernels::KernelTable& table) {
  return kernels::Matrix::group_rows(table, format::FormatId::q8_0);
}

}  // namespace

std::string PackedFile::path_of(const std::string& gguf_path, const kernels::KernelTable& table) {
  return rows_of(table) > 1 ? gguf_path + ".packed" + std::to_string(rows_of(table)) : "";
}

std::optional<PackedFile> PackedFile::open_beside(const std::string& gguf_path,
                                                  const kernels::KernelTable& table) {
  PackedFile out;
  out.path_ = path_of(gguf_path, table);
  std::error_code ignored;
  if (out.path_.empty() || !std::filesystem::exists(out.path_, ignored)) return std::nullopt;
  try {
    const format::GgufHeader header = format::GgufHeader::read(core::FileReader(out.path_));
    ESP_CHECK(header.text("general.architecture") == kArchitecture &&
                  header.integer(kPrefix + "rows") == rows_of(table),
              input, out.path_, ": this is not a packed file with groups of ", rows_of(table),
              " rows");
    const core::FileStamp stamp = core::file_stamp(gguf_path);
    const bool same =
        header.integer(kPrefix + "source_bytes") == static_cast<std::int64_t>(stamp.bytes) &&
        (header.integer(kPrefix + "source_modified") == stamp.modified_ns ||
         header.text(kPrefix + "source_xxh64") == xxh64(gguf_path));
    ESP_CHECK(same, input, out.path_, ": it was made from another version of ", gguf_path);
    for (const format::GgufTensor& tensor : header.tensors())
      out.places_[tensor.name] = {tensor.offset, tensor.bytes};
    out.file_.emplace(out.path_);
    for (const auto& [name, place] : out.places_)
      ESP_CHECK(place.offset + place.bytes <= out.file_->bytes().size(), input, out.path_,
                ": the file became shorter while it was opened");
  } catch (const core::Error& error) {
    out.refusal_ = error.what();
    out.refusal_ += "; it is not used: run 'espalier-run pack' again, or remove it";
    out.file_.reset();
  }
  return out;
}

std::span<const std::byte> PackedFile::bytes(const MatrixBytes& matrix) const {
  const auto found = places_.find(name_of(matrix));
  ESP_CHECK(found != places_.end(), input, path_, ": matrix '", name_of(matrix),
            "' is missing: run 'espalier-run pack' again, or remove the file");
  return file_->bytes().subspan(found->second.offset, found->second.bytes);
}

PackResult pack_file(const std::string& gguf_path, const kernels::KernelTable& table,
                     core::ThreadPool& pool,
                     const std::function<void(std::int64_t done, std::int64_t total)>& progress) {
  PackResult out{.path = PackedFile::path_of(gguf_path, table), .rows = rows_of(table)};
  ESP_CHECK(!out.path.empty(), unsupported, "the kernels of ", kernels::isa_name(table),
            " read GGUF files directly: there is nothing to pack");
  const core::FileStamp stamp = core::file_stamp(gguf_path);
  format::GgufWriter writer(out.path, kAlignment);
  const auto is_packed = [&](const MatrixBytes& m) {
    return kernels::Matrix::group_rows(table, m.tensor.format) > 1;
  };
  read_weights(gguf_path, [&](const MatrixBytes& m) {
    if (is_packed(m)) {
      writer.add_tensor(name_of(m), {m.tensor.cols(), (m.n + out.rows - 1) / out.rows * out.rows},
                        m.tensor.format);
      ++out.matrices;
    }
    return kernels::Matrix();
  });
  ESP_CHECK(
      out.matrices > 0, unsupported, gguf_path,
      ": no matrix is quantized, so there is nothing to pack; F32, F16 and BF16 are read directly");
  writer.set("general.architecture", format::GgufValue::string(kArchitecture));
  writer.set(kPrefix + "rows", format::GgufValue::u32(static_cast<std::uint32_t>(out.rows)));
  writer.set(kPrefix + "source_bytes", format::GgufValue::u64(stamp.bytes));
  writer.set(kPrefix + "source_modified",
             format::GgufValue::u64(static_cast<std::uint64_t>(stamp.modified_ns)));
  writer.set(kPrefix + "source_xxh64", format::GgufValue::string(xxh64(gguf_path)));
  out.bytes = writer.planned_bytes();
  writer.begin();
  std::int64_t done = 0;
  const Weights rest = read_weights(gguf_path, [&](const MatrixBytes& m) {
    if (is_packed(m)) {
      kernels::Matrix packed(table, m.tensor.format, m.bytes, m.n, m.tensor.cols(), pool);
      writer.write(packed.packed());
      core::drop_pages(m.bytes);
      progress(++done, out.matrices);
      return packed.not_finite() < 0 ? kernels::Matrix() : std::move(packed);
    }
    require_finite(gguf_path, m, pool);
    return kernels::Matrix();
  });
  require_finite_embedding(gguf_path, rest, pool);
  ESP_CHECK(core::file_stamp(gguf_path) == stamp, input, gguf_path,
            ": the file changed while it was packed, so no packed file was written; run "
            "'espalier-run pack' again");
  writer.finish();
  return out;
}

}  // namespace espalier::runtime
