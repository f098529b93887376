// SPDX-License-Identifier: Apache-2.0
// Target sizes -> sizes of the pruned model: one size for all layers, or the layer's own where that
// is smaller.
//
// A limit on parameters is met by sizes that scores choose (layer_sizes.h). What is known before
// are equal sizes within the limit, which stand in for them in predictions:
//
//   1. Unless ffn was given: the largest ffn that fits, in steps of its granule, but at least
//      half of the source's.
//   2. While that does not fit, and unless layers were given: one layer fewer, and again the
//      largest ffn that fits.
//   3. Where that does not fit either: with less of the ffn, and with fewer KV groups.
#include <algorithm>

#include "core/error.h"
#include "plan/prune_plan.h"

namespace espalier::plan {

using arch::Axis;
namespace {

std::string list_of(std::initializer_list<std::int64_t> values) {
  std::string out;
  for (const std::int64_t v : values)
    if (v > 0) out += (out.empty() ? "" : " or ") + std::to_string(v);
  return out;
}

// The source's own size is always legal, because nothing is cut then.
void check_size(const char* flag, std::int64_t size, std::int64_t source, std::int64_t granule) {
  ESP_CHECK(size >= 1, usage, flag, " ", size, ": expected at least 1");
  ESP_CHECK(size <= source, usage, flag, " ", size, ": the source has only ", source);
  if (size == source || size % granule == 0) return;
  const std::int64_t below = size / granule * granule, above = std::min(below + granule, source);
  core::fail(core::ErrorKind::unsupported, flag, " ", size, ": not a multiple of ", granule,
             ", so rows would not be whole quantization blocks; use ", list_of({below, above}));
}

std::int64_t largest(const arch::ModelDims& dims, Axis axis) {
  std::int64_t out = 0;
  for (const arch::LayerDims& layer : dims.layers) out = std::max(out, layer[axis]);
  return out;
}
void at_most(arch::ModelDims& dims, Axis axis, std::int64_t most) {
  for (arch::LayerDims& layer : dims.layers) layer[axis] = std::min(layer[axis], most);
}
// In which rows would not be whole blocks otherwise. A group of heads is at least as long.
std::int64_t granule_of(const PruneTarget& target, Axis axis) {
  return axis == Axis::ffn ? target.ffn_granule : 1;
}

// Refuses a granule that somebody chose and that leaves no size to choose.
void check_granule(const PruneTarget& target, std::int64_t ffn) {
  ESP_CHECK(target.ffn_granule == PruneTarget().ffn_granule || target.ffn_granule <= ffn, usage,
            "--ffn-granule ", target.ffn_granule, ": the source's ffn is ", ffn,
            ", and no smaller size is a multiple of it; give a granule below ", ffn);
}

// The largest legal ffn in [lowest, highest] with which `dims` has at most `limit` parameters. 0:
// none.
std::int64_t largest_ffn(const arch::Arch& arch, arch::ModelDims dims, std::int64_t lowest,
                         std::int64_t highest, std::int64_t granule, std::int64_t limit) {
  for (std::int64_t ffn = highest; ffn >= lowest && ffn > 0; ffn = (ffn - 1) / granule * granule) {
    at_most(dims, Axis::ffn, ffn);
    if (arch::parameters(arch, dims) <= limit) return ffn;
  }
  return 0;
}

// The first sizes within the limit, of at least `lowest` of the ffn and `groups` at most. False:
// there are none, and `dims` has the smallest.
bool fits(const PruneTarget& target, const arch::Arch& arch, std::int64_t lowest,
          arch::ModelDims& dims) {
  const std::int64_t full = largest(dims, Axis::ffn);
  const std::size_t fewest = target.layers ? dims.layers.size() : 1;
  for (;; dims.layers.pop_back()) {
    if (const std::int64_t ffn =
            largest_ffn(arch, dims, lowest, full, target.ffn_granule, *target.parameters);
        ffn > 0) {
      at_most(dims, Axis::ffn, ffn);
      return true;
    }
    if (dims.layers.size() <= fewest) break;
  }
  at_most(dims, Axis::ffn, lowest);
  return false;
}

void meet_parameters(const PruneTarget& target, const arch::Arch& arch, arch::ModelDims& dims) {
  const std::int64_t limit = *target.parameters;
  if (arch::parameters(arch, dims) <= limit) return;
  const std::int64_t full = largest(dims, Axis::ffn), granule = target.ffn_granule;
  // Rounded up to the granule. A source narrower than one granule keeps its size.
  const auto part = [&](std::int64_t least) {
    return target.sizes[Axis::ffn] ? full
                                   : std::min(full, (least + granule - 1) / granule * granule);
  };
  arch::ModelDims smallest;
  for (const bool few_groups : {false, true})
    for (const std::int64_t lowest : {part(full / 2), part(1)}) {
      smallest = dims;
      if (few_groups && !target.sizes[Axis::kv_groups]) at_most(smallest, Axis::kv_groups, 1);
      if (!fits(target, arch, lowest, smallest)) continue;
      dims = smallest;
      return;
    }
  core::fail(core::ErrorKind::unsupported, "--parameters ", limit,
             ": cannot be reached by the sizes that are left to choose; the smallest is ",
             arch::parameters(arch, smallest), "; give --hidden or --vocab as well",
             target.layers || target.sizes[Axis::ffn] ? ", or leave --layers and --ffn out" : "");
}

}  // namespace

std::string size_flag(Axis axis) {
  std::string name = "--" + std::string(arch::axis_name(axis));
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string_view size_help(Axis axis) {
  switch (axis) {
    case Axis::ffn:
      return "ffn size to keep in every layer that has as much";
    case Axis::kv_groups:
      return "KV groups to keep, with their query heads";
    case Axis::q_per_kv:
      return "query heads per KV group to keep (fewer: only by --plan)";
    default:
      return "";
  }
}

arch::ModelDims resolve(const PruneTarget& target, const arch::Arch& arch,
                        const arch::ModelDims& before) {
  ESP_CHECK(!before.layers.empty(), input, "the source has no layers");
  ESP_CHECK(target.ffn_granule >= 1 && target.hidden_granule >= 1, usage,
            "granules must be at least 1");
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
  for (const Axis axis : arch::kCutAxes) {
    const std::optional<std::int64_t>& size = target.sizes[axis];
    if (!size) continue;
    check_size(size_flag(axis).c_str(), *size, largest(before, axis), granule_of(target, axis));
    at_most(after, axis, *size);
  }
  if (target.parameters) {
    ESP_CHECK(*target.parameters >= 1, usage, "--parameters ", *target.parameters,
              ": expected at least 1");
    check_granule(target, largest(before, Axis::ffn));
    meet_parameters(target, arch, after);
  }
  return after;
}

std::vector<arch::LayerDims> resolve_layers(const PruneTarget& target, const arch::Arch& arch,
                                            const arch::ModelDims& before,
                                            const arch::ModelDims& after) {
  if (after.n_layers() == before.n_layers()) return after.layers;
  PruneTarget sizes = target;
  sizes.layers.reset();
  sizes.parameters.reset();
  return resolve(sizes, arch, before).layers;
}

std::vector<std::string> smaller_layers(const PruneTarget& target, const arch::ModelDims& before) {
  std::vector<std::string> out;
  for (const Axis axis : arch::kCutAxes) {
    const std::optional<std::int64_t>& size = target.sizes[axis];
    std::string layers;
    for (std::size_t l = 0; size && l < before.layers.size(); ++l)
      if (before.layers[l][axis] < *size && before.layers[l][axis] > 0)
        layers += (layers.empty() ? "" : ", ") + std::to_string(l);
    if (!layers.empty())
      out.push_back(std::string(arch::axis_name(axis)) + " " + std::to_string(*size) + ": layers " +
                    layers + " have less and keep all of it");
  }
  return out;
}

}  // namespace espalier::plan
