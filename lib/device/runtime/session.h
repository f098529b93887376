// SPDX-License-Identifier: Apache-2.0
// The device runtime: a GGUF opened for inference. Weights are mapped (and packed for the ISA where
// that pays), a KV cache holds the context, decode_step() neither allocates nor throws. A Session
// serves one sequence at a time and is not thread-safe; its results do not depend on the number of
// threads.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arch/arch.h"
#include "text/tokenizer.h"

namespace espalier::runtime {

struct SessionOptions {
  int threads = 0;  // 0: all
  bool pin =
      false;  // each thread stays on one processor, the calling one too while the session lives
  std::int64_t context =
      0;                 // positions in the KV cache; 0: the model's context length, at most 4096
  std::string isa = {};  // "": $ESPALIER_ISA or the best the CPU has; "reference", "avx2", ...:
                         // Error(unsupported) if it cannot
  enum class KvType : std::uint8_t {
    f32,
    f16,
    q8_0,
    q4_0
  } kv = KvType::f16;  // of the KV cache; blocks of 32 values for the last two
  // For callers that read or write text: the tokenizer is made before the weights are loaded, so
  // that the memory it takes for a moment is not on top of theirs. Otherwise it is made when first
  // asked for; measuring speed needs none.
  bool tokenizer_first = false;
  bool packed_file =
      true;  // a packed file beside the model is used; not by who judges the model's own bytes
};

class Session {
 public:
  Session(const std::string& gguf_path, const SessionOptions& options);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  const arch::Arch& arch() const;
  const arch::ModelDims& dims() const;
  const text::Tokenizer& tokenizer() const;  // made on the first call, or before (SessionOptions)
  std::string isa() const;
  // The packed file that the matrices are mapped from (runtime/packed_file.h); empty: they were
  // packed on loading.
  std::string packed_file() const;
  std::string packed_refusal()
      const;  // why a packed file that is there is not used; empty: there is none, or it is used
  int threads() const;
  std::int64_t context() const;
  std::int64_t position() const;                // tokens in the KV cache
  std::int64_t weight_bytes_per_token() const;  // weight bytes read to decode one token
  std::int64_t kv_bytes_per_token() const;
  std::int64_t predicted_peak_bytes()
      const;  // resident memory of the process once the context is full
  std::int64_t layer_macs_per_token()
      const;  // multiply-adds of all matrices but the output's, which prefill computes once

  // What the machine does at best with this session's ISA and threads (kernels/peaks.h); no
  // bandwidth where memory is short.
  struct Peaks {
    std::optional<double> read_bytes_per_second;
    double int8_macs_per_second = 0;
  };
  Peaks measure_peaks();

  void reset();  // empties the KV cache
  // Takes back the last tokens: `position` are left. Error(usage) for more than there are, or fewer
  // than earliest_rewind().
  void rewind(std::int64_t position);
  std::int64_t earliest_rewind()
      const;  // the least position whose keys and values are all still there
  // Appends tokens; logits of the last one, valid until the next call: [vocab]. Error(usage) when
  // the context is full.
  std::span<const float> prefill(std::span<const std::int32_t> tokens);
  // Appends tokens and hands out the logits [vocab] of each from `first_scored` on, in order, in
  // bounded memory.
  void prefill_scored(
      std::span<const std::int32_t> tokens, std::int64_t first_scored,
      const std::function<void(std::int64_t index, std::span<const float> logits)>& take);
  // One token; empty span when the context is full or the token is not in the vocabulary.
  std::span<const float> decode_step(std::int32_t token) noexcept;

  // Activation taps for verification: called during prefill() and prefill_scored() with the step's
  // name, the layer (-1: none), and values [tokens, width], once for each piece the tokens are read
  // in. The names are those of the training side's taps: per layer layer_in attn_in attn_mix
  // attn_out ffn_in ffn_act ffn_out layer_out; layer -1: output_norm (of tokens with logits). Empty
  // function: off.
  using Tap = std::function<void(const char* step, int layer, std::span<const float> values,
                                 std::int64_t tokens)>;
  void set_tap(Tap tap);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::runtime
