// SPDX-License-Identifier: Apache-2.0
// The device runtime: a GGUF file opened for inference. Weights are mapped, and packed for the ISA
// where that pays. A KV cache holds the context. decode_step() neither allocates nor throws.
//
// A Session serves one sequence at a time and is not thread-safe. Its results do not depend on the
// number of threads.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "arch/arch.h"
#include "text/tokenizer.h"

namespace espalier::runtime {

struct SessionOptions {
  int threads = 0;  // 0: all processors
  // Each thread stays on one processor. The calling thread does too, while the session lives.
  bool pin = false;
  // Positions in the KV cache. 0: the model's context length, at most 4096.
  std::int64_t context = 0;
  // "": $ESPALIER_ISA, or the best that the CPU has. Otherwise "reference", "avx2", ...:
  // Error(unsupported) when the CPU cannot run it.
  std::string isa = {};
  // Type of the KV cache. q8_0 and q4_0 are blocks of 32 values.
  enum class KvType : std::uint8_t { f32, f16, q8_0, q4_0 } kv = KvType::f16;
  // For callers that read or write text. The tokenizer is made before the weights are loaded, so
  // that its temporary memory is not added to theirs. Otherwise it is made on first use. Measuring
  // speed needs none.
  bool tokenizer_first = false;
  // Use a packed file beside the model. Set to false to judge the model's own bytes.
  bool packed_file = true;
  // One layer of weights in memory at a time, for a model that is larger than memory. The results
  // are the same. Such a session reads text and does not decode; it uses no packed file.
  bool layer_by_layer = false;
};

class Session {
 public:
  Session(const std::string& gguf_path, const SessionOptions& options);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  const arch::Arch& arch() const;
  const arch::ModelDims& dims() const;
  // Made on the first call, or before (SessionOptions::tokenizer_first).
  const text::Tokenizer& tokenizer() const;
  const std::set<std::int32_t>& end_tokens() const;  // text/end_tokens.h; made with the tokenizer
  std::string isa() const;
  // The packed file from which matrices are mapped (runtime/packed_file.h). Empty: they were packed
  // on loading.
  std::string packed_file() const;
  // Why an existing packed file is not used. Empty: there is none, or it is used.
  std::string packed_refusal() const;
  int threads() const;
  std::int64_t context() const;
  // Error(input) when the model's file, or its packed file, has been written to since it was
  // opened.
  void check_unchanged() const;
  std::int64_t position() const;                // number of tokens in the KV cache
  std::int64_t weight_bytes_per_token() const;  // weight bytes read to decode one token
  std::int64_t kv_bytes_per_token() const;
  // Resident memory of the process once the context is full.
  std::int64_t predicted_peak_bytes() const;
  // Multiply-adds of all matrices except the output matrix, which prefill uses only once.
  std::int64_t layer_macs_per_token() const;

  // The best speed of the machine with this session's ISA and threads (kernels/peaks.h). No
  // bandwidth where memory is short.
  struct Peaks {
    std::optional<double> read_bytes_per_second;
    double int8_macs_per_second = 0;
  };
  Peaks measure_peaks();

  void reset();  // empties the KV cache
  // Takes back the last tokens, so that `position` remain. Error(usage) when `position` is above
  // position() or below earliest_rewind().
  void rewind(std::int64_t position);
  // The smallest position that rewind() accepts: all keys and values that a token there sees are
  // still held.
  std::int64_t earliest_rewind() const;
  // Appends tokens. Returns the logits [vocab] of the last one, valid until the next call.
  // Error(usage) when the context is full.
  std::span<const float> prefill(std::span<const std::int32_t> tokens);
  // Appends tokens and passes the logits [vocab] of each from `first_scored` on to `take`, in order
  // and in bounded memory.
  void prefill_scored(
      std::span<const std::int32_t> tokens, std::int64_t first_scored,
      const std::function<void(std::int64_t index, std::span<const float> logits)>& take);
  // Error(input) unless all are finite. prefill() and prefill_scored() check what they hand out.
  // decode_step() does not.
  void require_finite_logits(std::span<const float> logits) const;
  // Appends one token and returns its logits [vocab]. Returns an empty span when the context is
  // full, the token is not in the vocabulary, or layers are loaded one by one.
  std::span<const float> decode_step(std::int32_t token) noexcept;

  // Activation taps for verification. prefill() and prefill_scored() call the tap with the step's
  // name, the layer (-1: none) and values [tokens, width]. They call it once for each piece in
  // which the tokens are read.
  //
  // The names are those of the training side's taps. Per layer: layer_in attn_in attn_mix attn_out
  // ffn_in ffn_act ffn_out layer_out. Layer -1: output_norm (of tokens with logits). An empty
  // function switches taps off.
  using Tap = std::function<void(const char* step, int layer, std::span<const float> values,
                                 std::int64_t tokens)>;
  void set_tap(Tap tap);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::runtime
