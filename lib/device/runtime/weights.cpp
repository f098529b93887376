// SPDX-License-Identifier: Apache-2.0
// Loads and checks the weights of a GGUF.
#include "runtime/weights.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <utility>

#include "core/error.h"
#include "format/finite.h"
#include "runtime/weight_index.h"

namespace espalier::runtime {
namespace {

using arch::Role;

// Kernels that read a matrix in place may load this many bytes past its end.
constexpr std::uint64_t kReadAhead = 32;

[[noreturn]] void refuse_value(const std::string& path, const format::GgufTensor& tensor,
                               std::int64_t index, float value) {
  const std::string row =
      tensor.rows() > 1 ? std::to_string(index / tensor.cols()) + ", " : std::string();
  core::fail(core::ErrorKind::input, path, ": tensor ", tensor.name, "[", row,
             index % tensor.cols(), "] is ", value,
             ": a model with such a weight computes nothing; repair the file, or fetch it again");
}
// `at`: index of a value in the matrix, of a block format the first of its block.
[[noreturn]] void refuse_value(const std::string& path, const MatrixBytes& m, std::int64_t at) {
  const format::QuantFormat& f = format::info(m.tensor.format);
  std::vector<float> block(static_cast<std::size_t>(f.block));
  f.decode(m.bytes.data() + at / f.block * f.block_bytes, block.data(), f.block);
  refuse_value(path, m.tensor, m.first * m.tensor.cols() + at, block.front());
}

class Loader {
 public:
  // `files`: those of the model, mapped. Empty: each tensor is mapped by itself. `storage` is what
  // the weights then lie in.
  Loader(const WeightIndex& index, std::span<const core::MappedFile> files, Storage& storage,
         const MakeMatrix& make)
      : path_(index.files.front().path()),
        index_(index),
        files_(files),
        storage_(storage),
        make_(make) {}

  kernels::Matrix matrix(Role role, int layer) {
    const format::GgufTensor* tensor = index_.find(role, layer);
    return rows(role, layer, 0, tensor->rows());
  }
  kernels::Matrix rows(Role role, int layer, std::int64_t first, std::int64_t n) {
    const format::GgufTensor* tensor = index_.find(role, layer);
    const std::uint64_t row_bytes = tensor->bytes / static_cast<std::uint64_t>(tensor->rows());
    const std::span<const std::byte> whole = bytes(*tensor);
    const auto source =
        readable_past_the_end(files_.empty() ? whole : files_[tensor->part].bytes(),
                              whole.subspan(static_cast<std::uint64_t>(first) * row_bytes,
                                            static_cast<std::uint64_t>(n) * row_bytes));
    const MatrixBytes m{.tensor = *tensor, .first = first, .n = n, .bytes = source};
    kernels::Matrix out = make_(m);
    if (out.not_finite() >= 0) refuse_value(path_, m, out.not_finite());
    bytes_per_token += out.gguf_bytes();
    return out;
  }
  std::vector<float> vector(Role role, int layer) {
    std::vector<float> out = values(role, layer);
    const format::GgufTensor* tensor = index_.find(role, layer);
    if (tensor != nullptr) bytes_per_token += static_cast<std::int64_t>(tensor->bytes);
    return out;
  }
  // All values of a tensor. Empty when the model lacks it, as check_tensors() made sure.
  std::vector<float> values(Role role, int layer) {
    const format::GgufTensor* tensor = index_.find(role, layer);
    if (tensor == nullptr) return {};
    std::vector<float> out(static_cast<std::size_t>(tensor->cols() * tensor->rows()));
    format::info(tensor->format)
        .decode(bytes(*tensor).data(), out.data(), tensor->cols() * tensor->rows());
    for (std::size_t i = 0; i < out.size(); ++i)
      if (!std::isfinite(out[i]))
        refuse_value(path_, *tensor, static_cast<std::int64_t>(i), out[i]);
    return out;
  }

  std::span<const std::byte> bytes(const format::GgufTensor& tensor) {
    if (!files_.empty()) return files_[tensor.part].bytes().subspan(tensor.offset, tensor.bytes);
    const core::FileReader& file = index_.files[tensor.part];
    return storage_.parts.emplace_back(file.path(), file.stamp(), tensor.offset, tensor.bytes)
        .bytes();
  }

  std::int64_t bytes_per_token = 0;

 private:
  // Copies a tensor that ends close to the end of the last page, where reading ahead would leave
  // the mapping.
  std::span<const std::byte> readable_past_the_end(std::span<const std::byte> mapped,
                                                   std::span<const std::byte> source) {
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto end_of = [](std::span<const std::byte> s) {
      return reinterpret_cast<std::uintptr_t>(s.data() + s.size());
    };
    if (end_of(source) + kReadAhead <= (end_of(mapped) + page - 1) / page * page) return source;
    std::vector<std::byte>& copy = storage_.padded.emplace_back(source.begin(), source.end());
    copy.resize(source.size() + kReadAhead);
    return std::span<const std::byte>(copy).first(source.size());
  }

  const std::string& path_;
  const WeightIndex& index_;
  std::span<const core::MappedFile> files_;
  Storage& storage_;
  const MakeMatrix& make_;
};

std::vector<double> inverse_frequencies(const arch::GgufModel& model,
                                        const std::vector<float>& factors,
                                        const std::string& path) {
  if (factors.empty()) return arch::rope_inverse_frequencies(model.dims);
  arch::ModelDims unscaled = model.dims;
  unscaled.rope_scaling = {};
  std::vector<double> out = arch::rope_inverse_frequencies(unscaled);
  for (std::size_t i = 0; i < out.size(); ++i) {
    ESP_CHECK(factors[i] > 0, input, path, ": tensor 'rope_freqs.weight' has the divisor ",
              factors[i], " at ", i, ", expected positive numbers");
    out[i] /= static_cast<double>(factors[i]);
  }
  return out;
}

// Empty where the model has none.
std::vector<float> load_bias(Loader& load, Role weight, int layer) {
  const auto bias = arch::bias_of(weight);
  return bias ? load.vector(*bias, layer) : std::vector<float>();
}
Affine load_affine(Loader& load, Role role, int layer) {
  return {load.matrix(role, layer), load_bias(load, role, layer)};
}

// The readers of a block, which have so many rows. They are separate tensors, or rows of one.
std::vector<Affine> load_readers(Loader& load, const arch::Block& block, int layer,
                                 std::initializer_list<std::int64_t> rows) {
  std::vector<Affine> out;
  if (block.readers.size() > 1) {
    for (const Role role : block.readers) out.push_back(load_affine(load, role, layer));
    return out;
  }
  const Role role = block.readers.front();
  const std::vector<float> bias = load_bias(load, role, layer);
  std::int64_t first = 0;
  for (const std::int64_t n : rows) {
    Affine& part = out.emplace_back(Affine{load.rows(role, layer, first, n), {}});
    if (!bias.empty()) part.bias.assign(bias.begin() + first, bias.begin() + first + n);
    first += n;
  }
  return out;
}

BlockWeights load_block(Loader& load, const arch::Arch& arch, const arch::ModelDims& model,
                        const arch::Block& block, int layer) {
  const arch::LayerDims& dims = model.layers[static_cast<std::size_t>(layer)];
  BlockWeights out;
  out.norm_H = load.vector(block.norm, layer);
  out.norm_bias_H = load_bias(load, block.norm, layer);
  switch (block.kind) {
    case arch::BlockKind::attention: {
      const std::int64_t N = dims.heads() * model.head_dim,
                         K = dims[arch::Axis::kv_groups] * model.head_dim;
      std::vector<Affine> read = load_readers(load, block, layer, {N, K, K});
      out.readers = AttentionReaders{.q = std::move(read[0]),
                                     .k = std::move(read[1]),
                                     .v = std::move(read[2]),
                                     .q_norm_D = load.vector(Role::attn_q_norm, layer),
                                     .k_norm_D = load.vector(Role::attn_k_norm, layer)};
      break;
    }
    case arch::BlockKind::ffn: {
      const std::int64_t F = dims[arch::Axis::ffn];
      FfnReaders readers;
      if (arch::has_gate(arch.activation)) {
        std::vector<Affine> read = load_readers(load, block, layer, {F, F});
        readers = {.gate = std::move(read[0]), .up = std::move(read[1])};
      } else {
        readers.up = load_affine(load, block.readers.front(), layer);
      }
      out.readers = std::move(readers);
      break;
    }
    default:
      arch::not_computed(block.kind);
  }
  out.consumer = load_affine(load, block.consumer, layer);
  if (block.norm_behind) out.norm_behind_H = load.vector(*block.norm_behind, layer);
  return out;
}

LayerWeights load_layer(Loader& load, const arch::GgufModel& model, int layer) {
  LayerWeights out;
  for (const arch::Block& block : model.arch->blocks)
    if (block.in(model.dims.layers[static_cast<std::size_t>(layer)]))
      out.blocks.push_back(load_block(load, *model.arch, model.dims, block, layer));
  return out;
}

void load_frequencies(Loader& load, const arch::GgufModel& model, const std::string& path,
                      Weights& w) {
  if (model.long_factors) {
    w.dims.long_rope.long_factors = load.vector(Role::rope_factors_long, -1);
    w.dims.long_rope.short_factors = load.vector(Role::rope_factors_short, -1);
    for (const auto* factors : {&w.dims.long_rope.long_factors, &w.dims.long_rope.short_factors})
      for (const float f : *factors)
        ESP_CHECK(f > 0, input, path, ": a divisor in rope_factors_long or _short.weight is ", f,
                  ", expected positive numbers");
    w.inverse_frequencies = arch::rope_inverse_frequencies(w.dims);
    w.long_text_inverse_frequencies = arch::rope_inverse_frequencies(w.dims, false, true);
  } else {
    w.inverse_frequencies = inverse_frequencies(
        model, model.rope_factors ? load.vector(Role::rope_freqs, -1) : std::vector<float>{}, path);
    w.long_text_inverse_frequencies = w.inverse_frequencies;
  }
  w.local_inverse_frequencies = w.dims.local_rope_theta > 0
                                    ? arch::rope_inverse_frequencies(w.dims, true)
                                    : w.inverse_frequencies;
}

// Everything but the layers. Without mapped files, the rest is mapped part by part.
void load_model(Loader& load, const WeightIndex& index, Weights& w) {
  load_frequencies(load, index.model, index.files.front().path(), w);
  w.token_embd = *index.find(Role::token_embd, -1);
  w.output = load.matrix(w.dims.tied ? Role::token_embd : Role::output, -1);
  if (!w.dims.tied) w.embedding = load.bytes(w.token_embd);
  w.output_norm_H = load.vector(Role::output_norm, -1);
  w.output_norm_bias_H = load.vector(Role::output_norm_bias, -1);
  // Dividing the final norm's gain, once, divides the logits.
  const float divisor = static_cast<float>(w.dims.logit_divisor);
  for (std::vector<float>* values : {&w.output_norm_H, &w.output_norm_bias_H})
    for (float& v : *values) v /= divisor;
  w.positions_PH =
      load.values(Role::pos_embd, -1);  // of which a token reads one row, too little to count
  w.bytes_per_token =
      load.bytes_per_token + static_cast<std::int64_t>(w.token_embd.bytes) / w.dims.vocab;
}

Weights empty_weights(const WeightIndex& index) {
  Weights w{.files = {}, .arch = index.model.arch, .dims = index.model.dims};
  for (const core::FileReader& file : index.files) w.opened.emplace_back(file.path(), file.stamp());
  return w;
}

Weights read_indexed(const WeightIndex& index, const MakeMatrix& make) {
  Weights w = empty_weights(index);
  for (const core::FileReader& file : index.files) {
    w.files.emplace_back(file.path());
    ESP_CHECK(w.files.back().stamp() == file.stamp(), input, file.path(),
              ": was replaced or written to while it was opened; try again");
  }
  Loader load(index, w.files, w.storage, make);
  load_model(load, index, w);
  for (int l = 0; l < static_cast<int>(w.dims.n_layers()); ++l)
    w.layers.push_back(load_layer(load, index.model, l));
  w.bytes_per_token += index.bytes_of_layers();
  return w;
}

}  // namespace

void Weights::check_unchanged() const {
  const auto written = std::find_if(opened.begin(), opened.end(), [](const auto& file) {
    return core::written_since(file.first, file.second);
  });
  const bool model = written != opened.end();
  ESP_CHECK(!model && !(packed && packed->written_since()), input,
            model ? written->first : packed->path(),
            ": was written to while it was in use, so the result may be wrong; replace such files "
            "by moving others into their place");
}

const LayerWeights& Weights::layer(int l) {
  if (!load_layer) return layers[static_cast<std::size_t>(l)];
  if (loaded != l || layers.empty()) {
    layers.clear();  // before the next one takes its place in memory
    layers.push_back(load_layer(l));
    loaded = l;
  }
  return layers.front();
}

void Weights::embed(std::int32_t token, std::int64_t position, float* out_H) const noexcept {
  if (dims.tied) {
    output.decode_row(token, out_H);
  } else {
    const std::uint64_t row_bytes = token_embd.bytes / static_cast<std::uint64_t>(dims.vocab);
    format::info(token_embd.format)
        .decode(embedding.data() + static_cast<std::uint64_t>(token) * row_bytes, out_H,
                dims.hidden);
  }
  if (!positions_PH.empty())
    for (std::int64_t i = 0; i < dims.hidden; ++i)
      out_H[i] += positions_PH[static_cast<std::size_t>(position * dims.hidden + i)];
  const float scale = static_cast<float>(arch::embedding_factor(*arch, dims));
  if (scale == 1) return;
  for (std::int64_t i = 0; i < dims.hidden; ++i) out_H[i] *= scale;
}

void require_finite(const std::string& path, const MatrixBytes& m, core::ThreadPool& pool) {
  const std::int64_t row_bytes =
      static_cast<std::int64_t>(m.bytes.size()) / std::max<std::int64_t>(1, m.n);
  std::atomic<std::int64_t> bad_row{m.n};
  const auto of_row = [&](std::int64_t row) {
    return format::first_not_finite(m.tensor.format,
                                    m.bytes.subspan(static_cast<std::size_t>(row * row_bytes),
                                                    static_cast<std::size_t>(row_bytes)));
  };
  pool.split(m.n, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      if (of_row(row) < 0) continue;
      for (std::int64_t seen = bad_row; row < seen;)
        if (bad_row.compare_exchange_weak(seen, row)) break;
      return;
    }
  });
  if (const std::int64_t row = bad_row; row < m.n)
    refuse_value(path, m, row * m.tensor.cols() + of_row(row));
}

Weights read_weights(const std::string& path, const MakeMatrix& make) {
  return read_indexed(read_index(path), make);
}

void require_finite_embedding(const std::string& path, const Weights& w, core::ThreadPool& pool) {
  if (w.dims.tied) return;  // the output matrix was checked already
  require_finite(
      path, {.tensor = w.token_embd, .first = 0, .n = w.dims.vocab, .bytes = w.embedding}, pool);
  core::drop_pages(w.embedding);
}

namespace {

// The kernels' form of a matrix. `looked_at`: its weights are known to be finite.
kernels::Matrix ready(const std::string& path, const kernels::KernelTable& table,
                      core::ThreadPool& pool, bool looked_at, const MatrixBytes& m) {
  const format::FormatId format = m.tensor.format;
  const bool in_place = kernels::Matrix::group_rows(table, format) == 1;
  if (in_place && !looked_at) require_finite(path, m, pool);
  kernels::Matrix out(table, format, m.bytes, m.n, m.tensor.cols(), pool);
  if (!in_place) core::drop_pages(m.bytes);
  return out;
}

}  // namespace

Weights load_weights(const std::string& path, const kernels::KernelTable& table,
                     core::ThreadPool& pool, bool packed_file) {
  const WeightIndex index = read_index(path);
  std::optional<PackedFile> packed;
  if (packed_file) packed = PackedFile::open_beside(index.files, index.parts, table);
  const bool looked_at = packed && packed->usable();  // pack_file() checked the same bytes
  bool in_place = false;
  Weights w = read_indexed(index, [&](const MatrixBytes& m) {
    const bool read = kernels::Matrix::group_rows(table, m.tensor.format) == 1;
    in_place = in_place || read;
    if (!read && looked_at)
      return kernels::Matrix::of_packed(table, m.tensor.format, packed->bytes(m), m.n,
                                        m.tensor.cols());
    return ready(path, table, pool, looked_at, m);
  });
  if (!looked_at) require_finite_embedding(path, w, pool);
  // The pages between the matrices came along with them.
  if (!in_place)
    for (const core::MappedFile& file : w.files) core::drop_pages(file.bytes());
  w.packed = std::move(packed);
  ::malloc_trim(0);  // frees the names of tensors and the memory that packing used
  return w;
}

Weights load_layer_by_layer(const std::string& path, const kernels::KernelTable& table,
                            core::ThreadPool& pool) {
  const auto index = std::make_shared<const WeightIndex>(read_index(path));
  const MakeMatrix make = [path, &table, &pool](const MatrixBytes& m) {
    return ready(path, table, pool, false, m);
  };
  Weights w = empty_weights(*index);
  Loader load(*index, {}, w.storage, make);
  load_model(load, *index, w);
  w.bytes_per_token += index->bytes_of_layers();
  require_finite_embedding(path, w, pool);
  w.load_layer = [index, make](int layer) {
    Storage storage;
    Loader of_layer(*index, {}, storage, make);
    LayerWeights out = load_layer(of_layer, index->model, layer);
    out.storage = std::move(storage);
    return out;
  };
  return w;
}

}  // namespace espalier::runtime
