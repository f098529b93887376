// SPDX-License-Identifier: Apache-2.0
// What pruning and scoring take, predicted from sizes alone.
#include <algorithm>

#include "layerwise/backward.h"
#include "plan/memory.h"
#include "prune/choose_sizes.h"
#include "prune/criteria/loss.h"
#include "prune/criterion.h"
#include "prune/request.h"
#include "prune/rotation.h"

namespace espalier::prune {
namespace {

text::CalibrationOptions few(text::CalibrationOptions calibration) {
  calibration.tokens = std::min(calibration.tokens, kLayerWindows * calibration.sequence);
  return calibration;
}

// With a stream for every layer or block that is left out (criteria/loss.h), the output matrix and
// some logits.
std::int64_t part_score_memory(const Criterion& criterion, const arch::Arch& arch,
                               const arch::ModelDims& dims,
                               const text::CalibrationOptions& calibration) {
  const std::int64_t streams = layerwise::walk_back_bytes(dims, calibration.tokens);
  return plan::layer_stage_memory(arch, dims,
                                  {.tokens = calibration.tokens,
                                   .batch_tokens = calibration.batch_tokens,
                                   .sums = false,
                                   .streams = 1,
                                   .more = (criterion.blocks == nullptr ? 1 : 2) * streams +
                                           4 * dims.vocab * (dims.hidden + 3 * kLossTokens)});
}

}  // namespace

SizesFacts sizes_facts(const PruneOptions& options, const arch::Arch& arch,
                       const arch::ModelDims& before) {
  if (!open_sizes(options, arch, dims_to_cut(options, arch, before))) return {};
  const std::int64_t sequence = options.calibration.sequence, all = options.calibration.tokens,
                     windows = std::max<std::int64_t>(1, kDropTokens / sequence);
  return {5, std::min(all, (kFitWindows + kJudgedWindows) * sequence),
          std::min(all, windows * sequence)};
}

namespace {

// The walk of the curves, with both streams of every block, and then the passes that compare sizes.
std::int64_t sizes_memory(const PruneOptions& options, const arch::Arch& arch,
                          const arch::ModelDims& dims, std::int64_t refitted) {
  const SizesFacts sizes = sizes_facts(options, arch, dims);
  if (sizes.choices == 0) return 0;
  const std::int64_t streams = 4 * layerwise::walk_back_bytes(dims, sizes.tokens_without);
  return plan::layer_stage_memory(
      arch, dims,
      {.tokens = sizes.tokens,
       .batch_tokens = options.calibration.batch_tokens,
       .follows = true,
       .streams = 1,
       .more = std::max(streams, refitted) + 4 * dims.vocab * (dims.hidden + 3 * kLossTokens)});
}

}  // namespace

std::int64_t peak_memory(const PruneOptions& options, const arch::Arch& arch,
                         const arch::ModelDims& dims) {
  const bool planned = !options.plan_path.empty() || !options.scores_path.empty(),
             pass = !planned || refits(options.compensation);
  // Refitted layers wait in memory until they are written.
  const arch::ModelDims after = check(options, arch, dims);
  std::int64_t refitted = 0;
  if (pass && options.compensation == Compensation::least_squares)
    for (const arch::TensorRef& t : arch::tensors(arch, after))
      if (t.layer >= 0) refitted += 4 * t.elements();
  const StatisticNames needs =
      planned ? StatisticNames() : criterion_by_name(options.criterion).needs;
  const std::int64_t of_pass =
      plan::layer_stage_memory(arch, dims,
                               {.tokens = options.calibration.tokens,
                                .batch_tokens = options.calibration.batch_tokens,
                                .follows = pass,
                                .streams = 1,
                                .more = refitted + bytes_of(needs, arch, dims)});
  std::int64_t most = std::max(of_pass, sizes_memory(options, arch, dims, refitted));
  if (planned) return most;
  if (turns_stream(options)) most = std::max(most, turning_memory(arch, dims, options.calibration));
  if (criterion_by_name(options.criterion).scope == Scope::model)
    most = std::max(most, score_memory(options.criterion, arch, dims, options.calibration));
  const Criterion* of_layers =
      options.blocks ? &criterion_by_name(options.criterion) : layer_criterion(options);
  if (of_layers && of_layers->rounds && (options.blocks || after.n_layers() < dims.n_layers()))
    most = std::max(most, part_score_memory(*of_layers, arch, dims, few(options.calibration)));
  return most;
}

std::int64_t score_memory(const std::string& criterion, const arch::Arch& arch,
                          const arch::ModelDims& dims,
                          const text::CalibrationOptions& calibration) {
  require_channels(criterion);
  const Criterion& c = criterion_by_name(criterion);
  const std::int64_t back =
      any_backward(c.needs) ? layerwise::walk_back_bytes(dims, calibration.tokens) : 0;
  const std::int64_t of_sums =
      plan::layer_stage_memory(arch, dims,
                               {.tokens = calibration.tokens,
                                .batch_tokens = calibration.batch_tokens,
                                .streams = 2,  // of block influence
                                .more = bytes_of(c.needs, arch, dims) + back});
  return c.rounds == nullptr ? of_sums
                             : std::max(of_sums, part_score_memory(c, arch, dims, calibration));
}

}  // namespace espalier::prune
