#include "runtime/weights.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "arch/gguf_dims.h"
#include "core/error.h"

namespace espalier::runtime {
namespace {

using arch::Role;

std::string shape_text(const std::vector<std::int64_t>& ne) {
  std::string out = "[";
  for (const std::int64_t n : ne) out += (out.size() > 1 ? ", " : "") + std::to_string(n);
  return out + "]";
}

// GGUF writes the row length first.
std::vector<std::int64_t> expected_shape(const arch::TensorRef& ref) {
  return ref.is_vector ? std::vector{ref.rows} : std::vector{ref.cols, ref.rows};
}

// Names and shapes of all tensors against the table; throws one Error with every problem (at most kListed of them spelled out).
void check_tensors(const format::GgufHeader& header, const arch::GgufModel& model) {
  constexpr std::size_t kListed = 20;
  std::vector<std::string> problems;
  std::set<std::string> expected;
  for (const arch::TensorRef& ref : arch::tensors(*model.arch, model.dims)) {
    const std::string name = arch::gguf_name(ref.spec->role, ref.layer);
    expected.insert(name);
    if (ref.elements() == 0) continue;  // a block that this layer does not have
    const format::GgufTensor* tensor = header.tensor(name);
    if (tensor == nullptr)
      problems.push_back("tensor '" + name + "' is missing");
    else if (tensor->ne != expected_shape(ref))
      problems.push_back("tensor '" + name + "' has the shape " + shape_text(tensor->ne) + ", expected " + shape_text(expected_shape(ref)));
  }
  if (model.rope_factors) {
    const std::string name = arch::gguf_name(Role::rope_freqs, -1);
    expected.insert(name);
    const std::vector<std::int64_t> shape{model.dims.head_dim / 2};
    if (header.tensor(name)->ne != shape)
      problems.push_back("tensor '" + name + "' has the shape " + shape_text(header.tensor(name)->ne) + ", expected " + shape_text(shape));
  }
  for (const format::GgufTensor& tensor : header.tensors())
    if (!expected.contains(tensor.name)) problems.push_back("tensor '" + tensor.name + "' is not part of the architecture");
  if (problems.empty()) return;

  std::ostringstream text;
  text << header.path() << ": the tensors do not fit architecture '" << model.arch->gguf << "' (" << problems.size() << " problems):";
  for (std::size_t i = 0; i < std::min(problems.size(), kListed); ++i) text << "\n  " << problems[i];
  if (problems.size() > kListed) text << "\n  and " << problems.size() - kListed << " more";
  core::fail(core::ErrorKind::input, text.str());
}

// Kernels may load this many bytes past a matrix that they read in place.
constexpr std::uint64_t kReadAhead = 32;

std::uintptr_t page_size() { return static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE)); }

// Gives the mapped pages that lie wholly inside `bytes` back to the system; they would be read from the file again if touched.
void drop_pages(std::span<const std::byte> bytes) {
  const std::uintptr_t page = page_size();
  const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(bytes.data()) + page - 1) / page * page;
  const std::uintptr_t end = (reinterpret_cast<std::uintptr_t>(bytes.data()) + bytes.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

// What loading needs of the header: the tokenizer's strings, several times the size of this, are let go before the weights come.
struct Index {
  arch::GgufModel model;
  std::map<std::string, format::GgufTensor> tensors;
  std::uint64_t end = 0;  // of the last tensor, in the file

  const format::GgufTensor* find(Role role, int layer) const {
    const auto found = tensors.find(arch::gguf_name(role, layer));
    return found != tensors.end() ? &found->second : nullptr;
  }
};

Index read_index(const std::string& path) {
  Index index;
  {
    const format::GgufHeader header = format::GgufHeader::read(core::FileReader(path));
    index.model = arch::read_gguf_model(header);
    check_tensors(header, index.model);
    for (const format::GgufTensor& tensor : header.tensors()) {
      index.tensors.emplace(tensor.name, tensor);
      index.end = std::max(index.end, tensor.offset + tensor.bytes);
    }
  }
  ::malloc_trim(0);  // 100,000 small strings leave a heap that nobody else fills
  return index;
}

class Loader {
 public:
  Loader(const Index& index, Weights& weights, const kernels::KernelTable& table, core::ThreadPool& pool)
      : index_(index), weights_(weights), table_(table), pool_(pool) {}

  kernels::Matrix matrix(Role role, int layer) {
    const format::GgufTensor* tensor = index_.find(role, layer);
    if (tensor == nullptr) return {};  // checked before: only for a block that the layer does not have
    const auto source = readable_past_the_end(bytes(*tensor));
    kernels::Matrix out(table_, tensor->format, source, tensor->rows(), tensor->cols(), pool_);
    if (out.owns_packed_copy()) drop_pages(source);
    bytes_per_token += out.gguf_bytes();
    return out;
  }
  std::vector<float> vector(Role role, int layer) {
    const format::GgufTensor* tensor = index_.find(role, layer);
    if (tensor == nullptr) return {};  // checked before: only for what the model does not have
    std::vector<float> out(static_cast<std::size_t>(tensor->cols()));
    format::info(tensor->format).decode(bytes(*tensor).data(), out.data(), tensor->cols());
    bytes_per_token += static_cast<std::int64_t>(tensor->bytes);
    return out;
  }

  std::int64_t bytes_per_token = 0;

 private:
  std::span<const std::byte> bytes(const format::GgufTensor& tensor) const {
    return weights_.file.bytes().subspan(tensor.offset, tensor.bytes);
  }
  // A tensor that ends so close to the end of the last page that reading ahead would leave the mapping is copied.
  std::span<const std::byte> readable_past_the_end(std::span<const std::byte> source) {
    const auto file = weights_.file.bytes();
    const std::uintptr_t page = page_size();
    const std::size_t mapped = (file.size() + page - 1) / page * page;
    if (static_cast<std::size_t>(source.data() - file.data()) + source.size() + kReadAhead <= mapped) return source;
    std::vector<std::byte>& copy = weights_.padded.emplace_back(source.begin(), source.end());
    copy.resize(source.size() + kReadAhead);
    return std::span<const std::byte>(copy).first(source.size());
  }

  const Index& index_;
  Weights& weights_;
  const kernels::KernelTable& table_;
  core::ThreadPool& pool_;
};

std::vector<double> inverse_frequencies(const arch::GgufModel& model, const std::vector<float>& factors, const std::string& path) {
  if (factors.empty()) return arch::rope_inverse_frequencies(model.dims);
  arch::ModelDims unscaled = model.dims;
  unscaled.rope_scaling = {};
  std::vector<double> out = arch::rope_inverse_frequencies(unscaled);
  for (std::size_t i = 0; i < out.size(); ++i) {
    ESP_CHECK(factors[i] > 0, input, path, ": tensor 'rope_freqs.weight' has the divisor ", factors[i], " at ", i, ", expected positive numbers");
    out[i] /= static_cast<double>(factors[i]);
  }
  return out;
}

}  // namespace

void Weights::embed(std::int32_t token, float* out_H) const noexcept {
  if (dims.tied) {
    output.decode_row(token, out_H);
  } else {
    const std::uint64_t row_bytes = token_embd.bytes / static_cast<std::uint64_t>(dims.vocab);
    format::info(token_embd.format).decode(file.bytes().data() + token_embd.offset + static_cast<std::uint64_t>(token) * row_bytes, out_H, dims.hidden);
  }
  if (!arch->scaled_embedding) return;
  const float scale = std::sqrt(static_cast<float>(dims.hidden));
  for (std::int64_t i = 0; i < dims.hidden; ++i) out_H[i] *= scale;
}

Weights load_weights(const std::string& path, const kernels::KernelTable& table, core::ThreadPool& pool) {
  const Index index = read_index(path);
  Weights w{.file = core::MappedFile(path), .arch = index.model.arch, .dims = index.model.dims};
  ESP_CHECK(w.file.bytes().size() >= index.end, input, path, ": the file became shorter while it was opened");
  Loader load(index, w, table, pool);
  w.inverse_frequencies = inverse_frequencies(index.model, index.model.rope_factors ? load.vector(Role::rope_freqs, -1) : std::vector<float>{}, path);
  w.local_inverse_frequencies = w.dims.local_rope_theta > 0 ? arch::rope_inverse_frequencies(w.dims, true) : w.inverse_frequencies;
  w.token_embd = *index.find(Role::token_embd, -1);
  w.output = load.matrix(w.dims.tied ? Role::token_embd : Role::output, -1);
  w.output_norm_H = load.vector(Role::output_norm, -1);
  for (int l = 0; l < static_cast<int>(w.dims.n_layers()); ++l) {
    w.layers.push_back({.attn_norm_H = load.vector(Role::attn_norm, l),
                        .ffn_norm_H = load.vector(Role::ffn_norm, l),
                        .attn_post_norm_H = load.vector(Role::attn_post_norm, l),
                        .ffn_post_norm_H = load.vector(Role::ffn_post_norm, l),
                        .q_norm_D = load.vector(Role::attn_q_norm, l),
                        .k_norm_D = load.vector(Role::attn_k_norm, l),
                        .q_bias = load.vector(Role::attn_q_bias, l),
                        .k_bias = load.vector(Role::attn_k_bias, l),
                        .v_bias = load.vector(Role::attn_v_bias, l),
                        .attn_out_bias = load.vector(Role::attn_output_bias, l),
                        .gate_bias = load.vector(Role::ffn_gate_bias, l),
                        .up_bias = load.vector(Role::ffn_up_bias, l),
                        .down_bias = load.vector(Role::ffn_down_bias, l),
                        .q = load.matrix(Role::attn_q, l),
                        .k = load.matrix(Role::attn_k, l),
                        .v = load.matrix(Role::attn_v, l),
                        .attn_out = load.matrix(Role::attn_output, l),
                        .gate = load.matrix(Role::ffn_gate, l),
                        .up = load.matrix(Role::ffn_up, l),
                        .down = load.matrix(Role::ffn_down, l)});
  }
  w.bytes_per_token = load.bytes_per_token + static_cast<std::int64_t>(w.token_embd.bytes) / w.dims.vocab;
  return w;
}

}  // namespace espalier::runtime
