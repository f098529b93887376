// SPDX-License-Identifier: Apache-2.0
#include "support/tiny_model.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/rng.h"
#include "support/layer_sizes.h"

namespace espalier::support {
namespace {

std::string utf8(std::uint32_t code) {  // up to U+07FF: all that the byte alphabet needs
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 63))};
}

// The printable stand-ins of GPT-2: bytes that print stand for themselves, the others for U+0100
// and up, in order.
std::vector<std::string> byte_alphabet() {
  std::vector<std::string> out;
  std::uint32_t next = 256;
  for (std::uint32_t b = 0; b < 256; ++b) {
    const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    out.push_back(utf8(prints ? b : next++));
  }
  return out;
}

// Values of a checkpoint's tensor in the row order of GGUF.
std::vector<float> gguf_rows(const TinyOptions& options, const arch::TensorRef& ref) {
  std::vector<float> values = tiny_weights(options, ref.spec->role, ref.layer);
  if (ref.spec->to_gguf != arch::Transform::rope_permute) return values;
  std::vector<float> out(values.size());
  for (std::int64_t r = 0; r < ref.rows; ++r)
    std::copy_n(values.begin() + r * ref.cols, ref.cols,
                out.begin() + arch::rope_permuted_row(r, options.head_dim) * ref.cols);
  return out;
}

}  // namespace

const arch::Arch& llama() { return *arch::arch_by_gguf_name("llama"); }

arch::ModelDims tiny_dims(const TinyOptions& o) {
  arch::ModelDims dims;
  dims.vocab = o.vocab;
  dims.hidden = o.hidden;
  dims.head_dim = o.head_dim;
  dims.positions = o.positions;
  dims.layers.assign(static_cast<std::size_t>(o.layers),
                     layer_sizes(o.kv_groups, o.q_per_kv, o.ffn));
  dims.tied = o.tied;
  dims.rope_theta = o.rope_theta;
  dims.rope_scaling = o.rope_scaling;
  return dims;
}

text::TokenizerData tiny_tokenizer(std::int64_t vocab) {
  ESP_CHECK(vocab >= 300, usage, "a tiny tokenizer has at least 300 tokens, not ", vocab);
  text::TokenizerData data;
  data.kind = text::TokenizerKind::byte_bpe;
  data.pre = "smollm";
  data.tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  data.types.assign(3, text::TokenType::control);
  for (std::string& byte : byte_alphabet()) data.tokens.push_back(std::move(byte));
  const std::size_t size = static_cast<std::size_t>(vocab);
  const auto merge = [&](const std::string& left, const std::string& right) {
    if (data.tokens.size() == size) return;
    data.merges.push_back(left + " " + right);
    data.tokens.push_back(left + right);
  };
  const std::string letters = "etaoinshrdlucmfwypvbgkjqxz";
  const std::string space = utf8(0x120);
  std::vector<std::string> pairs;
  for (const char c : letters) pairs.push_back(space + c);
  for (const char c : letters) merge(space, std::string(1, c));
  for (std::size_t sum = 0; sum < 2 * letters.size() - 1; ++sum)  // frequent letters first
    for (std::size_t i = 0; i <= sum; ++i)
      if (i < letters.size() && sum - i < letters.size()) {
        merge(std::string(1, letters[i]), std::string(1, letters[sum - i]));
        pairs.push_back({letters[i], letters[sum - i]});
      }
  for (const std::string& pair : pairs)
    for (const char c : letters) merge(pair, std::string(1, c));
  ESP_CHECK(data.tokens.size() == size, usage, "a tiny tokenizer has at most ", data.tokens.size(),
            " tokens, not ", vocab);
  data.types.resize(size, text::TokenType::normal);
  data.bos = 1;
  data.eos = 2;
  data.unk = 0;
  data.pad = 0;
  data.add_space_prefix = false;
  data.chat_template =
      "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
      "message['content'] + '<|im_end|>\\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
  return data;
}

std::vector<float> tiny_weights(const TinyOptions& o, arch::Role role, int layer) {
  const arch::TensorRef ref = arch::tensor_ref(llama(), tiny_dims(o), role, layer);
  core::Rng rng(o.seed,
                static_cast<std::uint64_t>(role) + 64 * static_cast<std::uint64_t>(layer + 1));
  std::vector<float> out(static_cast<std::size_t>(ref.elements()));
  double gain = 1;
  switch (role) {
    case arch::Role::attn_q:
    case arch::Role::attn_k:
      gain = 1.5;
      break;  // attention logits of standard deviation 2.25
    case arch::Role::token_embd:
    case arch::Role::output:
      gain = 1.6;
      break;
    default:
      break;
  }
  const double deviation = gain / std::sqrt(static_cast<double>(ref.cols));
  for (float& value : out)
    value = static_cast<float>(ref.is_vector ? 1 + 0.2 * rng.normal() : deviation * rng.normal());
  return out;
}

std::string write_tiny_llama(const std::string& directory, const TinyOptions& options) {
  const arch::ModelDims dims = tiny_dims(options);
  text::TokenizerData tokenizer = tiny_tokenizer(options.vocab);
  tokenizer.add_bos = options.add_bos;
  checkpoint::CheckpointWriter writer(directory, llama(), dims, {.dtype = options.dtype},
                                      {.tokenizer = &tokenizer});
  for (const arch::TensorRef& ref : arch::tensors(llama(), dims))
    writer.write_rows(ref.spec->role, ref.layer, tiny_weights(options, ref.spec->role, ref.layer));
  writer.finish();
  return directory;
}

std::string write_tiny_llama_gguf(const std::string& path, const TinyOptions& options) {
  const arch::ModelDims dims = tiny_dims(options);
  format::GgufWriter writer(path);
  checkpoint::dims_to_gguf(llama(), dims, writer);
  writer.set("general.name", format::GgufValue::string("tiny"));
  text::TokenizerData tokenizer = tiny_tokenizer(options.vocab);
  tokenizer.add_bos = options.add_bos;
  text::tokenizer_to_gguf(tokenizer, writer);
  const std::vector<arch::TensorRef> tensors = arch::tensors(llama(), dims);
  const std::vector<float> factors = arch::rope_frequency_factors(dims);
  for (const arch::TensorRef& ref : tensors)
    writer.add_tensor(arch::gguf_name(ref.spec->role, ref.layer),
                      ref.is_vector ? std::vector{ref.rows} : std::vector{ref.cols, ref.rows},
                      format::FormatId::f32);
  if (!factors.empty())
    writer.add_tensor(arch::gguf_name(arch::Role::rope_freqs, -1),
                      {static_cast<std::int64_t>(factors.size())}, format::FormatId::f32);
  writer.begin();
  for (const arch::TensorRef& ref : tensors)
    writer.write(std::as_bytes(std::span<const float>(gguf_rows(options, ref))));
  if (!factors.empty()) writer.write(std::as_bytes(std::span<const float>(factors)));
  writer.finish();
  return path;
}

std::string with_factors(const std::string& directory) {
  const std::string path = directory + "/config.json";
  auto config = nlohmann::ordered_json::parse(core::read_text_file(path));
  config["model_type"] = "granite";
  config["embedding_multiplier"] = 3.0;
  config["attention_multiplier"] = 0.3;
  config["residual_multiplier"] = 0.4;
  config["logits_scaling"] = 0.8;
  core::write_text_file(path, config.dump());
  return directory;
}

}  // namespace espalier::support
