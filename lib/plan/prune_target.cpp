// Target sizes -> uniform sizes of the pruned model.
//
// A limit on parameters is met, after every size that was given has been applied, by
//   1. the largest ffn that fits, in steps of its granule, but not below half of the source's (an FFN cut deeper than that costs more
//      than a layer does), unless ffn was given;
//   2. while that does not fit: one layer fewer, and ffn as large as fits again, unless layers were given.
// So widths stay as large as possible and depth is touched last.
#include <algorithm>

#include "core/error.h"
#include "plan/prune_plan.h"

namespace espalier::plan {
namespace {

std::string list_of(std::initializer_list<std::int64_t> values) {
  std::string out;
  for (const std::int64_t v : values)
    if (v > 0) out += (out.empty() ? "" : " or ") + std::to_string(v);
  return out;
}

// The source's own size is always legal: nothing is cut then.
void check_size(const char* flag, std::int64_t size, std::int64_t source, std::int64_t granule) {
  ESP_CHECK(size >= 1, usage, flag, " ", size, ": expected at least 1");
  ESP_CHECK(size <= source, usage, flag, " ", size, ": the source has only ", source);
  if (size == source || size % granule == 0) return;
  const std::int64_t below = size / granule * granule, above = std::min(below + granule, source);
  core::fail(core::ErrorKind::unsupported, flag, " ", size, ": not a multiple of ", granule, ", so rows would not be whole quantization blocks; use ",
             list_of({below, above}));
}

void set_ffn(arch::ModelDims& dims, std::int64_t ffn) {
  for (arch::LayerDims& layer : dims.layers) layer.ffn = ffn;
}

// The largest legal ffn in [lowest, highest] with which `dims` has at most `limit` parameters; 0: none.
std::int64_t largest_ffn(const arch::Arch& arch, arch::ModelDims dims, std::int64_t lowest, std::int64_t highest, std::int64_t granule,
                         std::int64_t limit) {
  for (std::int64_t ffn = highest; ffn >= lowest && ffn > 0; ffn = (ffn - 1) / granule * granule) {
    set_ffn(dims, ffn);
    if (arch::parameters(arch, dims) <= limit) return ffn;
  }
  return 0;
}

void meet_parameters(const PruneTarget& target, const arch::Arch& arch, arch::ModelDims& dims) {
  const std::int64_t limit = *target.parameters;
  if (arch::parameters(arch, dims) <= limit) return;
  const std::int64_t full = dims.layers.front().ffn, granule = target.ffn_granule;
  // At least half, rounded up to the granule; a source narrower than one granule keeps what it has.
  const std::int64_t lowest = target.ffn ? full : std::min(full, (full / 2 + granule - 1) / granule * granule);
  const std::size_t fewest = target.layers ? dims.layers.size() : 1;
  while (true) {
    if (const std::int64_t ffn = largest_ffn(arch, dims, lowest, full, granule, limit); ffn > 0) {
      set_ffn(dims, ffn);
      return;
    }
    if (dims.layers.size() <= fewest) break;
    dims.layers.pop_back();
  }
  set_ffn(dims, lowest);
  core::fail(core::ErrorKind::unsupported, "--parameters ", limit, ": cannot be reached by ", target.ffn ? "" : "ffn (at least half of the source's)",
             target.ffn || target.layers ? "" : " and ", target.layers ? "" : "layers", "; the smallest is ", arch::parameters(arch, dims),
             "; give --hidden, --kv-groups or --ffn as well");
}

}  // namespace

arch::ModelDims resolve(const PruneTarget& target, const arch::Arch& arch, const arch::ModelDims& before) {
  ESP_CHECK(!before.layers.empty(), input, "the source has no layers");
  ESP_CHECK(before.uniform(), unsupported, "the source's layers have unequal sizes; give a plan (--plan) instead of sizes");
  ESP_CHECK(target.ffn_granule >= 1 && target.hidden_granule >= 1, usage, "granules must be at least 1");
  const arch::LayerDims& source = before.layers.front();
  arch::ModelDims after = before;
  if (target.layers) {
    check_size("--layers", *target.layers, before.n_layers(), 1);
    after.layers.resize(static_cast<std::size_t>(*target.layers));
  }
  if (target.hidden) {
    check_size("--hidden", *target.hidden, before.hidden, target.hidden_granule);
    after.hidden = *target.hidden;
  }
  if (target.vocab) {
    check_size("--vocab", *target.vocab, before.vocab, 1);
    after.vocab = *target.vocab;
  }
  arch::LayerDims layer = source;
  if (target.ffn) {
    check_size("--ffn", *target.ffn, source.ffn, target.ffn_granule);
    layer.ffn = *target.ffn;
  }
  if (target.kv_groups) {
    check_size("--kv-groups", *target.kv_groups, source.kv_groups, 1);
    layer.kv_groups = *target.kv_groups;
  }
  if (target.q_per_kv) {
    check_size("--q-per-kv", *target.q_per_kv, source.q_per_kv, 1);
    layer.q_per_kv = *target.q_per_kv;
  }
  for (arch::LayerDims& l : after.layers) {
    l.kv_groups = layer.kv_groups;
    l.q_per_kv = layer.q_per_kv;
    l.ffn = layer.ffn;
  }
  if (target.parameters) {
    ESP_CHECK(*target.parameters >= 1, usage, "--parameters ", *target.parameters, ": expected at least 1");
    meet_parameters(target, arch, after);
  }
  return after;
}

}  // namespace espalier::plan
