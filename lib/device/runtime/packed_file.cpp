// SPDX-License-Identifier: Apache-2.0
// Writes packed files, and checks that a packed file belongs to its model.
#include "runtime/packed_file.h"

#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/parts.h"
#include "format/gguf_files.h"
#include "runtime/weights.h"

namespace espalier::runtime {
namespace {

const std::string kArchitecture = "espalier-packed", kPrefix = "espalier.packed.";
constexpr std::uint32_t kAlignment = 64;  // alignment of each matrix: whole vectors
constexpr std::uint32_t kLayout = 1;      // counts the changes of kernels/layout.h
constexpr std::uint64_t kSampleBytes = 256, kSamples = 4;  // of each tensor

std::string name_of(const MatrixBytes& m) { return m.tensor.name + "@" + std::to_string(m.first); }

class Hash {
 public:
  Hash() : state_(XXH64_createState(), XXH64_freeState) {
    ESP_CHECK(state_ != nullptr && XXH64_reset(state_.get(), 0) == XXH_OK, internal,
              "not enough memory for a hash");
  }
  void add(const core::FileReader& file, FilePart part) {
    for (std::uint64_t n; part.bytes > 0; part.offset += n, part.bytes -= n) {
      n = std::min<std::uint64_t>(window_.size(), part.bytes);
      file.read(part.offset, std::span(window_).first(n));
      XXH64_update(state_.get(), window_.data(), n);
    }
  }
  std::string hexadecimal() const {
    const XXH64_hash_t hash = XXH64_digest(state_.get());
    std::string out;
    for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789abcdef"[hash >> shift & 15];
    return out;
  }

 private:
  std::unique_ptr<XXH64_state_t, XXH_errorcode (*)(XXH64_state_t*)> state_;
  std::vector<std::byte> window_ = std::vector<std::byte>(std::size_t{64} << 10);
};

using Files = std::span<const core::FileReader>;

std::string whole_hash(Files files) {
  Hash hash;
  for (const core::FileReader& file : files) hash.add(file, {0, file.size()});
  return hash.hexadecimal();
}
std::uint64_t total_bytes(Files files) {
  std::uint64_t sum = 0;
  for (const core::FileReader& file : files) sum += file.size();
  return sum;
}
// Of several files a number that changes with each time.
std::int64_t modified(Files files) {
  std::uint64_t out = static_cast<std::uint64_t>(files.front().stamp().modified_ns);
  for (const core::FileReader& file : files.subspan(1))
    out = (out * 0x100000001B3 ^ static_cast<std::uint64_t>(file.stamp().modified_ns)) >> 2;
  return static_cast<std::int64_t>(out);
}

// Evenly spread from the first byte to the last; of a small tensor everything.
void add_samples(const core::FileReader& file, const FilePart& tensor, Hash& hash) {
  if (tensor.bytes <= kSamples * kSampleBytes) {
    hash.add(file, tensor);
    return;
  }
  for (std::uint64_t i = 0; i < kSamples; ++i)
    hash.add(file,
             {tensor.offset + (tensor.bytes - kSampleBytes) * i / (kSamples - 1), kSampleBytes});
}

std::string sample_hash(Files files, const ModelParts& parts) {
  Hash hash;
  for (std::size_t i = 0; i < files.size(); ++i) hash.add(files[i], {0, parts.data_offsets[i]});
  for (const FilePart& tensor : parts.tensors) add_samples(files[tensor.file], tensor, hash);
  return hash.hexadecimal();
}

// Rows of a group. All packed formats of a table have the same.
std::int64_t rows_of(const kernels::KernelTable& table) {
  std::int64_t rows = 1;
  for (const format::QuantFormat& f : format::all_formats())
    rows = std::max(rows, kernels::Matrix::group_rows(table, f.id));
  return rows;
}

}  // namespace

ModelParts parts_of(const format::GgufHeader& header) {
  ModelParts out;
  for (std::size_t i = 0; i < header.n_parts(); ++i)
    out.data_offsets.push_back(header.data_offset(i));
  for (const format::GgufTensor& t : header.tensors())
    out.tensors.push_back({t.offset, t.bytes, t.part});
  return out;
}

std::string PackedFile::path_of(const std::string& gguf_path, const kernels::KernelTable& table) {
  return rows_of(table) > 1 ? core::beside(gguf_path, ".packed" + std::to_string(rows_of(table)))
                            : "";
}

std::optional<PackedFile> PackedFile::open_beside(std::span<const core::FileReader> model,
                                                  const ModelParts& parts,
                                                  const kernels::KernelTable& table) {
  PackedFile out;
  out.path_ = path_of(model.front().path(), table);
  std::error_code ignored;
  if (out.path_.empty() || !std::filesystem::exists(out.path_, ignored)) return std::nullopt;
  try {
    const core::FileReader file(out.path_);
    const format::GgufHeader header = format::GgufHeader::read(file);
    ESP_CHECK(header.text("general.architecture") == kArchitecture &&
                  header.integer(kPrefix + "rows") == rows_of(table),
              input, out.path_, ": this is not a packed file with groups of ", rows_of(table),
              " rows");
    const std::int64_t layout = header.optional_integer(kPrefix + "layout").value_or(0);
    ESP_CHECK(layout == kLayout, input, out.path_, ": it has another layout (", layout,
              ", expected ", kLayout, ") and was packed by another version of espalier-run");
    const bool same_time = header.integer(kPrefix + "source_modified") == modified(model);
    const bool same =
        header.integer(kPrefix + "source_bytes") == static_cast<std::int64_t>(total_bytes(model)) &&
        header.text(kPrefix + "source_sample") == sample_hash(model, parts) &&
        (same_time || header.text(kPrefix + "source_xxh64") == whole_hash(model));
    ESP_CHECK(same, input, out.path_, ": it was made from another version of ",
              model.front().path());
    for (const format::GgufTensor& tensor : header.tensors())
      out.places_[tensor.name] = {tensor.offset, tensor.bytes};
    out.file_.emplace(out.path_);
    ESP_CHECK(out.file_->stamp() == file.stamp(), input, out.path_,
              ": the file was replaced or written to while it was opened");
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
  const format::GgufFiles files(gguf_path);
  const Files model = files.files();
  const ModelParts parts = parts_of(files.header());
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
  writer.set(kPrefix + "layout", format::GgufValue::u32(kLayout));
  writer.set(kPrefix + "rows", format::GgufValue::u32(static_cast<std::uint32_t>(out.rows)));
  writer.set(kPrefix + "source_bytes", format::GgufValue::u64(total_bytes(model)));
  writer.set(kPrefix + "source_modified",
             format::GgufValue::u64(static_cast<std::uint64_t>(modified(model))));
  writer.set(kPrefix + "source_sample", format::GgufValue::string(sample_hash(model, parts)));
  writer.set(kPrefix + "source_xxh64", format::GgufValue::string(whole_hash(model)));
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
  for (const core::FileReader& file : model)
    ESP_CHECK(core::file_stamp(file.path()) == file.stamp(), input, file.path(),
              ": the file changed while it was packed, so no packed file was written; run "
              "'espalier-run pack' again");
  writer.finish();
  return out;
}

}  // namespace espalier::runtime
