// SPDX-License-Identifier: Apache-2.0
// A session: weights, KV cache, forward pass and tokenizer of one model, and the pieces in which it
// reads tokens.
#include "runtime/session.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/thread_pool.h"
#include "core/units.h"
#include "format/finite.h"
#include "kernels/peaks.h"
#include "runtime/forward.h"
#include "runtime/kv_cache.h"
#include "runtime/weights.h"
#include "text/end_tokens.h"

namespace espalier::runtime {
namespace {

constexpr std::int64_t kDefaultContext = 4096;
// The number of tokens whose logits prefill_scored() computes at once.
constexpr std::int64_t kScoredTokens = 32;

std::int64_t choose_context(std::int64_t asked, const arch::ModelDims& dims,
                            const std::string& path) {
  ESP_CHECK(asked >= 0 && asked <= dims.positions, usage, "--context ", asked, ": ", path,
            " supports at most ", dims.positions, " positions");
  return asked > 0 ? asked : std::min(dims.positions, kDefaultContext);
}

struct Texts {
  text::Tokenizer tokenizer;
  std::set<std::int32_t> ends;
};

Texts read_tokenizer(const core::FileReader& file) {
  const format::GgufHeader header = format::GgufHeader::read(file);
  Texts out{text::Tokenizer(text::tokenizer_from_gguf(header)), {}};
  out.ends = text::end_tokens(out.tokenizer, header);
  return out;
}

// The tokenizer, or none where it cannot be made. Callers that only use ids do not need it. A
// caller that asks for it gets the error then.
std::optional<Texts> tokenizer_if_any(const core::FileReader& file) {
  try {
    return read_tokenizer(file);
  } catch (const core::Error&) {
    return std::nullopt;
  }
}

}  // namespace

struct Session::State {
  State(const std::string& gguf_path, const SessionOptions& options)
      : path(gguf_path),
        bytes_before(core::peak_rss_bytes()),
        table(kernels::select_isa(options.isa)),
        pool(options.threads, options.pin),
        opened(core::FileReader(path).stamp()),
        texts(options.tokenizer_first ? tokenizer_if_any(core::FileReader(path)) : std::nullopt),
        weights(options.layer_by_layer ? load_layer_by_layer(path, table, pool)
                                       : load_weights(path, table, pool, options.packed_file)),
        cache(weights.dims, choose_context(options.context, weights.dims, path), options.kv),
        forward(weights, cache, table, pool),
        logits_V(weights.dims.vocab) {
    require_same(opened);
    if (texts && texts->tokenizer.vocab_size() != weights.dims.vocab) texts.reset();
  }

  std::size_t vocab() const { return static_cast<std::size_t>(weights.dims.vocab); }
  bool known(std::int32_t token) const { return token >= 0 && token < weights.dims.vocab; }
  // Every opening of the file has found the one that the weights are of.
  void require_same(const core::FileStamp& stamp) const {
    ESP_CHECK(stamp == weights.opened.front().second, input, path,
              ": was replaced or written to while it was opened; try again");
  }
  const Texts& made() {
    if (!texts) {
      const core::FileReader file(path);
      require_same(file.stamp());
      Texts read = read_tokenizer(file);
      ESP_CHECK(read.tokenizer.vocab_size() == weights.dims.vocab, input, path,
                ": the tokenizer has ", read.tokenizer.vocab_size(), " tokens, but the model has ",
                weights.dims.vocab);
      texts.emplace(std::move(read));
    }
    return *texts;
  }
  const Session::Tap* active_tap() const { return tap ? &tap : nullptr; }

  void check(std::span<const std::int32_t> tokens) const {
    ESP_CHECK(!tokens.empty(), usage, "no tokens to read");
    const auto n = static_cast<std::int64_t>(tokens.size());
    ESP_CHECK(cache.position() + n <= cache.context(), usage, n,
              " tokens do not fit: ", cache.position(), " of ", cache.context(),
              " positions of the context are used; use a larger context or a shorter text");
    for (const std::int32_t token : tokens)
      ESP_CHECK(known(token), usage, "token ", token, " is not in the vocabulary of ",
                weights.dims.vocab);
  }

  // Runs tokens in pieces. After each piece calls done(first index, first needed within the piece,
  // size of the piece).
  template <typename F>
  void run(std::span<const std::int32_t> tokens, std::int64_t first_needed, F&& done) {
    const auto total = static_cast<std::int64_t>(tokens.size());
    for (std::int64_t begin = 0; begin < total; begin += forward.max_tokens()) {
      const std::int64_t n = std::min(forward.max_tokens(), total - begin);
      const std::int64_t needed = std::clamp<std::int64_t>(first_needed - begin, 0, n);
      forward.run(tokens.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(n)),
                  needed, active_tap());
      done(begin, needed, n);
    }
  }

  std::string path;
  std::int64_t bytes_before;  // memory of the process before anything was loaded
  const kernels::KernelTable& table;
  core::ThreadPool pool;
  core::FileStamp opened;  // of the file when its tokenizer was read
  // The file's tokenizer. Made on first use, or before the weights
  // (SessionOptions::tokenizer_first).
  std::optional<Texts> texts;
  Weights weights;
  KvCache cache;
  Forward forward;
  Buffer<float> logits_V;
  Buffer<float> scored_TV;  // made by the first prefill_scored()
  Session::Tap tap;
};

Session::Session(const std::string& gguf_path, const SessionOptions& options)
    : state_(std::make_unique<State>(gguf_path, options)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

const arch::Arch& Session::arch() const { return *state_->weights.arch; }
const arch::ModelDims& Session::dims() const { return state_->weights.dims; }
const text::Tokenizer& Session::tokenizer() const { return state_->made().tokenizer; }
const std::set<std::int32_t>& Session::end_tokens() const { return state_->made().ends; }
std::string Session::isa() const { return kernels::isa_name(state_->table); }
std::string Session::packed_file() const {
  const std::optional<PackedFile>& packed = state_->weights.packed;
  return packed && packed->usable() ? packed->path() : "";
}
std::string Session::packed_refusal() const {
  return state_->weights.packed ? state_->weights.packed->refusal() : "";
}
void Session::check_unchanged() const { state_->weights.check_unchanged(); }
int Session::threads() const { return state_->pool.size(); }
std::int64_t Session::context() const { return state_->cache.context(); }
std::int64_t Session::position() const { return state_->cache.position(); }
std::int64_t Session::weight_bytes_per_token() const { return state_->weights.bytes_per_token; }
std::int64_t Session::kv_bytes_per_token() const { return state_->cache.bytes_per_token(); }

std::int64_t Session::predicted_peak_bytes() const {
  const State& s = *state_;
  return s.bytes_before + s.weights.bytes_per_token + s.cache.bytes() + s.forward.scratch_bytes() +
         s.logits_V.bytes();
}
std::int64_t Session::layer_macs_per_token() const {
  std::int64_t sum = 0;
  for (const arch::TensorRef& t : arch::tensors(arch(), dims()))
    if (t.layer >= 0 && !t.is_vector) sum += t.elements();
  return sum;
}
Session::Peaks Session::measure_peaks() {
  Peaks out{.read_bytes_per_second = {},
            .int8_macs_per_second = kernels::int8_peak(state_->table, state_->pool)};
  try {
    out.read_bytes_per_second = kernels::read_bandwidth(state_->table, state_->pool);
  } catch (const core::Error& error) {
    if (error.kind() != core::ErrorKind::unsupported) throw;
  }
  return out;
}

void Session::reset() { state_->cache.clear(); }

void Session::rewind(std::int64_t position) {
  KvCache& cache = state_->cache;
  ESP_CHECK(position >= cache.earliest_rewind() && position <= cache.position(), usage,
            "rewind to ", position, ": expected ", cache.earliest_rewind(), " to ",
            cache.position());
  cache.rewind(position);
}
std::int64_t Session::earliest_rewind() const { return state_->cache.earliest_rewind(); }

std::span<const float> Session::prefill(std::span<const std::int32_t> tokens) {
  State& s = *state_;
  s.check(tokens);
  const auto total = static_cast<std::int64_t>(tokens.size());
  s.run(tokens, total - 1, [&](std::int64_t begin, std::int64_t needed, std::int64_t n) {
    if (begin + n == total) s.forward.logits(needed, 1, s.logits_V.data(), s.active_tap());
  });
  require_finite_logits({s.logits_V.data(), s.vocab()});
  return {s.logits_V.data(), s.vocab()};
}

void Session::prefill_scored(
    std::span<const std::int32_t> tokens, std::int64_t first_scored,
    const std::function<void(std::int64_t index, std::span<const float> logits)>& take) {
  State& s = *state_;
  s.check(tokens);
  ESP_CHECK(first_scored >= 0, usage, "first scored token ", first_scored, ", expected 0 or more");
  if (s.scored_TV.data() == nullptr)
    s.scored_TV = Buffer<float>(kScoredTokens * s.weights.dims.vocab);
  s.run(tokens, first_scored, [&](std::int64_t begin, std::int64_t needed, std::int64_t n) {
    for (std::int64_t t = needed; t < n; t += kScoredTokens) {
      const std::int64_t some = std::min(kScoredTokens, n - t);
      s.forward.logits(t, some, s.scored_TV.data(), s.active_tap());
      for (std::int64_t i = 0; i < some; ++i) {
        const std::span<const float> logits(s.scored_TV.data() + i * s.weights.dims.vocab,
                                            s.vocab());
        require_finite_logits(logits);
        take(begin + t + i, logits);
      }
    }
  });
}

std::span<const float> Session::decode_step(std::int32_t token) noexcept {
  State& s = *state_;
  if (s.cache.position() >= s.cache.context() || !s.known(token) || s.weights.load_layer) return {};
  s.forward.run({&token, 1}, 0, nullptr);
  s.forward.logits(0, 1, s.logits_V.data(), nullptr);
  return {s.logits_V.data(), s.vocab()};
}

void Session::require_finite_logits(std::span<const float> logits) const {
  ESP_CHECK(format::first_not_finite(format::FormatId::f32, std::as_bytes(logits)) < 0, input,
            state_->path,
            ": the logits are not finite, although the weights are: activations of "
            "this text exceed the range of floating point, so that there is no result");
}

void Session::set_tap(Tap tap) { state_->tap = std::move(tap); }

}  // namespace espalier::runtime
