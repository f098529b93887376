// SPDX-License-Identifier: Apache-2.0
// Measurement of prefill and decode speed, sustained speed and energy.
#include "runtime/bench.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "core/units.h"
#include "runtime/energy.h"

namespace espalier::runtime {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<std::int32_t> random_tokens(std::int64_t n, std::int64_t vocab, core::Rng& rng) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(n));
  for (std::int32_t& token : out)
    token = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(vocab)));
  return out;
}

void fill(Session& session, const std::vector<std::int32_t>& depth) {
  session.reset();
  if (!depth.empty()) session.prefill(depth);
}

double prefill_speed(Session& session, const std::vector<std::int32_t>& depth,
                     const std::vector<std::int32_t>& tokens) {
  fill(session, depth);
  const auto start = Clock::now();
  session.prefill(tokens);
  return static_cast<double>(tokens.size()) /
         std::chrono::duration<double>(Clock::now() - start).count();
}

double decode_speed(Session& session, const std::vector<std::int32_t>& depth,
                    const std::vector<std::int32_t>& tokens) {
  fill(session, depth);
  const auto start = Clock::now();
  for (const std::int32_t token : tokens) session.decode_step(token);
  return static_cast<double>(tokens.size()) /
         std::chrono::duration<double>(Clock::now() - start).count();
}

// Decodes without a pause. Empties the context whenever it is full.
std::vector<double> sustained_speed(Session& session, double seconds, std::int64_t vocab,
                                    core::Rng& rng) {
  constexpr int kParts = 10;
  const std::vector<std::int32_t> tokens = random_tokens(1024, vocab, rng);
  std::vector<double> out;
  session.reset();
  std::size_t next = 0;
  for (int part = 0; part < kParts; ++part) {
    const auto start = Clock::now();
    std::int64_t done = 0;
    double passed = 0;
    do {
      if (session.position() == session.context()) session.reset();
      session.decode_step(tokens[next++ % tokens.size()]);
      ++done;
      passed = std::chrono::duration<double>(Clock::now() - start).count();
    } while (passed < seconds / kParts);
    out.push_back(static_cast<double>(done) / passed);
  }
  return out;
}

struct Spread {
  double median = 0, min = 0, max = 0;
};
Spread spread(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return {.median = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2,
          .min = values.front(),
          .max = values.back()};
}

}  // namespace

BenchResult bench(Session& session, const BenchOptions& options) {
  ESP_CHECK(
      options.prompt >= 0 && options.generate >= 0 && options.depth >= 0 && options.repeat >= 1,
      usage, "expected --prompt, --generate and --depth of 0 or more, and --repeat of 1 or more");
  ESP_CHECK(options.prompt + options.generate > 0, usage,
            "--prompt 0 --generate 0: there is nothing to measure");
  const std::int64_t need = options.depth + std::max(options.prompt, options.generate);
  ESP_CHECK(need <= session.context(), usage, need, " tokens do not fit into a context of ",
            session.context());

  core::Rng rng(options.seed);
  const std::int64_t vocab = session.dims().vocab;
  const auto depth = random_tokens(options.depth, vocab, rng),
             prompt = random_tokens(options.prompt, vocab, rng),
             generate = random_tokens(options.generate, vocab, rng);
  std::vector<double> prefill, decode, joules;
  for (int i = -1; i < options.repeat; ++i) {  // the first round is a warm-up
    const double p = prompt.empty() ? 0 : prefill_speed(session, depth, prompt);
    const EnergyMeter meter;
    const double d = generate.empty() ? 0 : decode_speed(session, depth, generate);
    const std::optional<double> used = meter.joules();
    if (i < 0) continue;
    if (used && depth.empty() && !generate.empty())
      joules.push_back(*used / static_cast<double>(options.generate));
    if (!prompt.empty()) prefill.push_back(p);
    if (!generate.empty()) decode.push_back(d);
  }
  std::vector<double> sustained;
  if (options.sustained_seconds > 0)
    sustained = sustained_speed(session, options.sustained_seconds, vocab, rng);
  session.reset();
  const std::int64_t peak_rss = core::peak_rss_bytes();
  const Session::Peaks peaks = session.measure_peaks();
  const Spread p = spread(prefill), d = spread(decode);
  return {
      .prefill_tokens_per_second = p.median,
      .decode_tokens_per_second = d.median,
      .prefill_min = p.min,
      .prefill_max = p.max,
      .decode_min = d.min,
      .decode_max = d.max,
      .weight_bytes_per_token = session.weight_bytes_per_token(),
      .kv_bytes_per_token = session.kv_bytes_per_token(),
      .read_gb_per_second = d.median * static_cast<double>(session.weight_bytes_per_token()) * 1e-9,
      .peak_rss_bytes = peak_rss,
      .read_bandwidth_gb_per_second = peaks.read_bytes_per_second
                                          ? std::optional(*peaks.read_bytes_per_second * 1e-9)
                                          : std::nullopt,
      .int8_peak_gmac_per_second = peaks.int8_macs_per_second * 1e-9,
      .prefill_gmac_per_second =
          p.median * static_cast<double>(session.layer_macs_per_token()) * 1e-9,
      .decode_joules_per_token =
          joules.empty() ? std::nullopt : std::optional(spread(joules).median),
      .sustained_tokens_per_second = std::move(sustained)};
}

}  // namespace espalier::runtime
