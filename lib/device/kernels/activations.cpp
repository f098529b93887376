// SPDX-License-Identifier: Apache-2.0
// Quantizes the activations of each step once for all matrices that read them.
#include "kernels/activations.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::kernels {
namespace {

// Below this number, waking the pool costs more than it saves.
constexpr std::int64_t kFewValues = 16384;

std::int64_t chunks_of(std::int64_t cols) { return (cols + kChunk - 1) / kChunk; }
std::int64_t padded(std::int64_t cols) { return (cols + kBf16Step - 1) / kBf16Step * kBf16Step; }

// Calls f(begin, end) over the tokens.
template <typename F>
void each_token(const Activations::State& s, F&& f, core::ThreadPool& pool) {
  if (s.n * s.cols <= kFewValues)
    f(0, s.n);
  else
    pool.split(s.n, 1, f);
}

template <typename Chunk>
void quantize(const Activations::State& s,
              void (*quantize_chunk)(const float*, std::int64_t, Chunk*), Chunk* out,
              core::ThreadPool& pool) {
  const std::int64_t chunks = chunks_of(s.cols);
  const auto tokens = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t c = 0; c < chunks; ++c) {
        const std::int64_t left = s.cols - c * kChunk;
        quantize_chunk(s.x + t * s.cols + c * kChunk, left < kChunk ? left : kChunk,
                       out + c * s.n + t);
      }
    }
  };
  each_token(s, tokens, pool);
}

void round(const Activations::State& s, const KernelTable& table, std::uint16_t* out,
           core::ThreadPool& pool) {
  const std::int64_t stride = padded(s.cols);
  const auto tokens = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      table.round_bf16(s.x + t * s.cols, s.cols, out + t * stride);
      std::fill(out + t * stride + s.cols, out + (t + 1) * stride, std::uint16_t{0});
    }
  };
  each_token(s, tokens, pool);
}

}  // namespace

Activations::Activations(std::int64_t max_tokens, std::int64_t max_cols)
    : state_(std::make_unique<State>()) {
  ESP_CHECK(max_tokens > 0 && max_cols > 0, internal, "activations of ", max_tokens, " x ",
            max_cols, " values");
  State& s = *state_;
  s.max_tokens = max_tokens;
  s.max_cols = max_cols;
  const std::int64_t chunks = max_tokens * chunks_of(max_cols);
  s.per_32 = PackedMemory(chunks * static_cast<std::int64_t>(sizeof(ChunkPer32)));
  s.per_256 = PackedMemory(chunks * static_cast<std::int64_t>(sizeof(ChunkPer256)));
  s.bf16 = PackedMemory(max_tokens * padded(max_cols) *
                        static_cast<std::int64_t>(sizeof(std::uint16_t)));
}
Activations::~Activations() = default;
Activations::Activations(Activations&&) noexcept = default;
Activations& Activations::operator=(Activations&&) noexcept = default;

std::int64_t Activations::bytes() const {
  const State& s = *state_;
  return s.max_tokens * (chunks_of(s.max_cols) *
                             static_cast<std::int64_t>(sizeof(ChunkPer32) + sizeof(ChunkPer256)) +
                         padded(s.max_cols) * static_cast<std::int64_t>(sizeof(std::uint16_t)));
}

void Activations::set(const float* x, std::int64_t n, std::int64_t cols) noexcept {
  State& s = *state_;
  ESP_ASSERT(n >= 0 && n <= s.max_tokens && cols >= 0 && cols <= s.max_cols);
  s.x = x;
  s.n = n;
  s.cols = cols;
  s.per_32_by = s.per_256_by = s.bf16_by = nullptr;
}

ActivationView Activations::State::view(ActivationForm form, const KernelTable& table,
                                        core::ThreadPool& pool) noexcept {
  ActivationView out{.n = n,
                     .cols = cols,
                     .f32 = x,
                     .bf16 = nullptr,
                     .bf16_stride = padded(cols),
                     .chunks = nullptr};
  if (form == ActivationForm::bf16 && n > 1) {
    auto* values = reinterpret_cast<std::uint16_t*>(bf16.data());
    if (bf16_by != &table) {
      round(*this, table, values, pool);
      bf16_by = &table;
    }
    out.bf16 = values;
  } else if (form == ActivationForm::q8_per_32) {
    auto* chunks = reinterpret_cast<ChunkPer32*>(per_32.data());
    if (per_32_by != &table) {
      quantize(*this, table.quantize_per_32, chunks, pool);
      per_32_by = &table;
    }
    out.chunks = chunks;
  } else if (form == ActivationForm::q8_per_256) {
    auto* chunks = reinterpret_cast<ChunkPer256*>(per_256.data());
    if (per_256_by != &table) {
      quantize(*this, table.quantize_per_256, chunks, pool);
      per_256_by = &table;
    }
    out.chunks = chunks;
  }
  return out;
}

}  // namespace espalier::kernels
