// SPDX-License-Identifier: Apache-2.0
// Tiny random Llama models for tests, as a Hugging Face directory and as a GGUF file (F32). Weights
// are scaled so that attention is not flat, norms have gains other than 1 and logits have a
// standard deviation above 0.8: a parity test on a default-initialised model would pass with any
// forward pass. The tokenizer is a byte-level BPE: 3 specials, 256 bytes, then merges of letters.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "arch/arch.h"
#include "checkpoint/checkpoint.h"
#include "text/tokenizer.h"

namespace espalier::support {

struct TinyOptions {
  std::int64_t hidden = 64, layers = 2, kv_groups = 2, q_per_kv = 2, head_dim = 16, ffn = 96;
  std::int64_t vocab = 320;  // at least 300
  bool tied = true;
  std::uint64_t seed = 1;
  std::int64_t positions = 256;
  double rope_theta = 10000;
  arch::RopeScaling rope_scaling = {};
  bool add_bos = false;  // <|im_start|> in front of every text
  format::FormatId dtype =
      format::FormatId::f32;  // of the Hugging Face directory; GGUF files are F32
};

const arch::Arch& llama();
arch::ModelDims tiny_dims(const TinyOptions& options);
// Specials: 0 <|endoftext|> (unknown, padding), 1 <|im_start|> (BOS), 2 <|im_end|> (EOS). BOS is
// not added on its own unless TinyOptions say so.
text::TokenizerData tiny_tokenizer(std::int64_t vocab);
// Values of one tensor in the Hugging Face layout: a function of the options alone.
std::vector<float> tiny_weights(const TinyOptions& options, arch::Role role, int layer);

// Return their first argument.
std::string write_tiny_llama(const std::string& directory, const TinyOptions& options = {});
std::string write_tiny_llama_gguf(const std::string& path, const TinyOptions& options = {});
// Makes a directory of the first a Granite's: the same tensors, with four factors.
std::string with_factors(const std::string& directory);

}  // namespace espalier::support
