// SPDX-License-Identifier: Apache-2.0
#include "runtime/plain_model.h"

#include <cmath>
#include <span>

#include "arch/gguf_dims.h"
#include "core/rng.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

namespace espalier::support {
namespace {

using arch::Role;
using Vector = std::vector<double>;

const arch::Arch& llama() { return *arch::arch_by_gguf_name("llama"); }

bool rotated(const arch::TensorRef& ref) {
  return ref.spec->role == Role::attn_q || ref.spec->role == Role::attn_k;
}

// Hugging Face -> ggml: the two halves of each head's rows are interleaved.
std::vector<std::byte> interleave_heads(const std::vector<std::byte>& bytes, std::int64_t rows,
                                        std::int64_t head_dim) {
  const std::int64_t row_bytes = static_cast<std::int64_t>(bytes.size()) / rows;
  std::vector<std::byte> out;
  for (std::int64_t head = 0; head < rows; head += head_dim)
    for (std::int64_t i = 0; i < head_dim / 2; ++i)
      for (const std::int64_t row : {head + i, head + head_dim / 2 + i})
        out.insert(out.end(), bytes.begin() + row * row_bytes,
                   bytes.begin() + (row + 1) * row_bytes);
  return out;
}

text::TokenizerData byte_tokenizer(std::int64_t vocab) {
  text::TokenizerData data;
  data.kind = text::TokenizerKind::byte_bpe;
  data.pre = "smollm";
  data.tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  data.types.assign(3, text::TokenType::control);
  std::uint32_t next = 256;
  for (std::uint32_t b = 0; b < 256; ++b) {  // GPT-2's printable stand-ins
    const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    const std::uint32_t code = prints ? b : next++;
    data.tokens.push_back(code < 128 ? std::string(1, static_cast<char>(code))
                                     : std::string{static_cast<char>(0xC0 | (code >> 6)),
                                                   static_cast<char>(0x80 | (code & 63))});
  }
  while (static_cast<std::int64_t>(data.tokens.size()) < vocab)
    data.tokens.push_back("[unused" + std::to_string(data.tokens.size()) + "]");
  data.types.resize(data.tokens.size(), text::TokenType::normal);
  data.bos = 1;
  data.eos = 2;
  data.chat_template =
      "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor "
      "%}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  return data;
}

Vector multiply(const std::vector<float>& w, const Vector& x) {  // W [rows, x.size()]
  Vector y(w.size() / x.size(), 0.0);
  for (std::size_t r = 0; r < y.size(); ++r)
    for (std::size_t c = 0; c < x.size(); ++c)
      y[r] += static_cast<double>(w[r * x.size() + c]) * x[c];
  return y;
}

Vector rms_norm(const Vector& x, const std::vector<float>& gain, double eps) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  const double scale = 1 / std::sqrt(sum / static_cast<double>(x.size()) + eps);
  Vector out;
  for (std::size_t i = 0; i < x.size(); ++i)
    out.push_back(x[i] * scale * static_cast<double>(gain[i]));
  return out;
}

// Half-split rotation of every head in x.
void rotate(Vector& x, const arch::ModelDims& d, std::int64_t position) {
  const std::size_t D = static_cast<std::size_t>(d.head_dim), half = D / 2;
  for (std::size_t head = 0; head < x.size(); head += D)
    for (std::size_t i = 0; i < half; ++i) {
      const double angle =
          static_cast<double>(position) /
          std::pow(d.rope_theta, 2.0 * static_cast<double>(i) / static_cast<double>(D));
      const double a = x[head + i], b = x[head + half + i];
      x[head + i] = a * std::cos(angle) - b * std::sin(angle);
      x[head + half + i] = b * std::cos(angle) + a * std::sin(angle);
    }
}

Vector attend(const Vector& q, const std::vector<Vector>& keys, const std::vector<Vector>& values,
              const arch::LayerDims& layer, std::size_t D) {
  Vector out(q.size(), 0.0);
  for (std::size_t head = 0; head < q.size() / D; ++head) {
    const std::size_t group = head / static_cast<std::size_t>(layer[arch::Axis::q_per_kv]);
    Vector p;
    double sum = 0;
    for (const Vector& k : keys) {
      double dot = 0;
      for (std::size_t i = 0; i < D; ++i) dot += q[head * D + i] * k[group * D + i];
      p.push_back(std::exp(dot / std::sqrt(static_cast<double>(D))));
      sum += p.back();
    }
    for (std::size_t t = 0; t < values.size(); ++t)
      for (std::size_t i = 0; i < D; ++i)
        out[head * D + i] += p[t] / sum * values[t][group * D + i];
  }
  return out;
}

void add(Vector& x, const Vector& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

}  // namespace

PlainModel random_model(const PlainSizes& sizes, std::uint64_t seed) {
  PlainModel model;
  model.dims.vocab = sizes.vocab;
  model.dims.hidden = sizes.hidden;
  model.dims.head_dim = sizes.head_dim;
  model.dims.positions = sizes.positions;
  model.dims.layers = layer_list(sizes.layers);
  model.dims.tied = sizes.tied;
  model.dims.rope_theta = sizes.rope_theta;
  std::uint64_t stream = 0;
  for (const arch::TensorRef& ref : arch::tensors(llama(), model.dims)) {
    core::Rng rng(seed, stream++);
    const bool pattern = rotated(ref);  // sharper attention
    const double scale = (pattern ? 1.6 : 1.3) / std::sqrt(static_cast<double>(ref.cols));
    std::vector<float>& values = model.tensors[arch::gguf_name(ref.spec->role, ref.layer)];
    for (std::int64_t i = 0; i < ref.elements(); ++i)
      values.push_back(
          static_cast<float>(ref.is_vector ? 1 + 0.3 * rng.normal() : scale * rng.normal()));
  }
  return model;
}

void write_gguf(PlainModel& model, const std::string& path, format::FormatId format) {
  format::GgufWriter writer(path);
  arch::write_gguf_model(llama(), model.dims, writer);
  if (model.dims.vocab >= 259) text::tokenizer_to_gguf(byte_tokenizer(model.dims.vocab), writer);
  std::vector<arch::TensorRef> refs = arch::tensors(llama(), model.dims);
  std::erase_if(refs, [](const arch::TensorRef& ref) {
    return ref.elements() == 0;
  });  // blocks that a layer does not have
  for (const arch::TensorRef& ref : refs)
    writer.add_tensor(arch::gguf_name(ref.spec->role, ref.layer),
                      ref.is_vector ? std::vector{ref.rows} : std::vector{ref.cols, ref.rows},
                      ref.is_vector ? format::FormatId::f32 : format);
  writer.begin();
  for (const arch::TensorRef& ref : refs) {
    std::vector<float>& values = model.tensor(ref.spec->role, ref.layer);
    const format::QuantFormat& f = format::info(ref.is_vector ? format::FormatId::f32 : format);
    const std::int64_t n = ref.elements();
    std::vector<std::byte> bytes(static_cast<std::size_t>(n / f.block * f.block_bytes));
    f.encode(values.data(), nullptr, bytes.data(), n);
    f.decode(bytes.data(), values.data(), n);
    writer.write(rotated(ref) ? interleave_heads(bytes, ref.rows, model.dims.head_dim) : bytes);
  }
  writer.finish();
}

std::vector<double> plain_logits(const PlainModel& model, const std::vector<std::int32_t>& tokens) {
  const arch::ModelDims& d = model.dims;
  const std::size_t H = static_cast<std::size_t>(d.hidden),
                    D = static_cast<std::size_t>(d.head_dim);
  const std::vector<float>& embedding = model.tensor(Role::token_embd);
  std::vector<std::vector<Vector>> keys(d.layers.size()), values(d.layers.size());
  Vector logits;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const auto row = embedding.begin() + tokens[t] * static_cast<std::ptrdiff_t>(H);
    Vector x(row, row + static_cast<std::ptrdiff_t>(H));
    for (std::size_t l = 0; l < d.layers.size(); ++l) {
      const int layer = static_cast<int>(l);
      if (d.layers[l][arch::Axis::kv_groups] > 0) {
        const Vector in = rms_norm(x, model.tensor(Role::attn_norm, layer), d.norm_eps);
        Vector q = multiply(model.tensor(Role::attn_q, layer), in),
               k = multiply(model.tensor(Role::attn_k, layer), in);
        rotate(q, d, static_cast<std::int64_t>(t));
        rotate(k, d, static_cast<std::int64_t>(t));
        keys[l].push_back(k);
        values[l].push_back(multiply(model.tensor(Role::attn_v, layer), in));
        add(x, multiply(model.tensor(Role::attn_output, layer),
                        attend(q, keys[l], values[l], d.layers[l], D)));
      }
      if (d.layers[l][arch::Axis::ffn] > 0) {
        const Vector in = rms_norm(x, model.tensor(Role::ffn_norm, layer), d.norm_eps);
        Vector gate = multiply(model.tensor(Role::ffn_gate, layer), in);
        const Vector up = multiply(model.tensor(Role::ffn_up, layer), in);
        for (std::size_t i = 0; i < gate.size(); ++i)
          gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
        add(x, multiply(model.tensor(Role::ffn_down, layer), gate));
      }
    }
    const Vector out = multiply(d.tied ? embedding : model.tensor(Role::output),
                                rms_norm(x, model.tensor(Role::output_norm), d.norm_eps));
    logits.insert(logits.end(), out.begin(), out.end());
  }
  return logits;
}

std::vector<std::int32_t> random_tokens(std::int64_t n, std::int64_t vocab, std::uint64_t seed) {
  core::Rng rng(seed, 77);
  std::vector<std::int32_t> out;
  for (std::int64_t i = 0; i < n; ++i)
    out.push_back(static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(vocab))));
  return out;
}

double standard_deviation(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (const double v : values) {
    sum += v;
    squares += v * v;
  }
  const double n = static_cast<double>(values.size());
  return std::sqrt(squares / n - sum / n * (sum / n));
}

double relative_difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return INFINITY;
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

}  // namespace espalier::support
