// SPDX-License-Identifier: Apache-2.0
// Both streams go block by block; each block's matrices are refitted when the exact stream is
// behind the block.
#include "layerwise/follow.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/profile.h"
#include "model/allocation.h"

namespace espalier::layerwise {
namespace {

using arch::Axis;
using arch::Role;
using torch::Tensor;

Tensor as_index(const std::vector<std::int64_t>& v) { return torch::tensor(v, torch::kInt64); }

}  // namespace

Tensor scaled_gains(const arch::Arch& arch, const Tensor& stored, double factor) {
  const double less = arch.norm == arch::Norm::rms_plus_one ? 1 : 0;  // of what is stored
  return (stored + less) * factor - less;
}

Follow::Follow(FollowOptions options, std::vector<Edit*> edits)
    : options_(std::move(options)), edits_(std::move(edits)) {}

Tensor Follow::on_hidden(const Tensor& t, int dim) const {
  return options_.hidden ? t.index_select(dim, as_index(*options_.hidden)) : t;
}

void Follow::begin(model::Transformer& model, const Tensor& ids, const Stream& stream) {
  exact_ = &model;
  n_read_ = ids.size(0) - options_.judged;
  n_seen_ = n_read_ - (options_.ridge ? 0 : held_out_windows(n_read_));
  edited_.batch = stream.batch;
  for (Edit* edit : edits_)
    if (!edited_.states.defined())
      if (auto states = edit->embed(model, ids, stream.batch)) edited_.states = *states;
  if (!edited_.states.defined())
    edited_.states = options_.hidden ? on_hidden(stream.states, -1) : stream.states.clone();
}

// The layer before the next kept one. Behind it the k-th kept layer is done.
int Follow::end_of(std::size_t k) const {
  return static_cast<int>(k + 1 < options_.keep_layers.size() ? options_.keep_layers[k + 1]
                                                              : exact_->dims().n_layers()) -
         1;
}

void Follow::save_layer(int layer, Saved& out) const {
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    if (end_of(k) != layer) continue;
    for (const auto& [axis, kept] : layers_[k].kept)
      out.about[std::to_string(static_cast<int>(axis))] = kept;
    for (const auto& [role, weights] : layers_[k].refitted)
      out.tensors[std::to_string(static_cast<int>(role))] = weights;
    for (const auto& [role, ridge] : layers_[k].ridges)
      out.about["ridge"][std::to_string(static_cast<int>(role))] = ridge;
  }
}

void Follow::load_layer(int layer, const Saved& in) {
  if (layers_.size() >= options_.keep_layers.size() || end_of(layers_.size()) != layer) return;
  EditedLayer& out = layers_.emplace_back();
  for (const auto& [name, value] : in.about.items()) {
    if (name != "ridge") {
      out.kept[static_cast<Axis>(std::stoi(name))] = value.get<std::vector<std::int64_t>>();
      continue;
    }
    for (const auto& [role, ridge] : value.items())
      out.ridges[static_cast<Role>(std::stoi(role))] = ridge.get<double>();
  }
  for (const auto& [role, weights] : in.tensors)
    out.refitted[static_cast<Role>(std::stoi(role))] = weights;
}

void Follow::save(Saved& out) const {
  out.about["differ"] = differ_;
  out.tensors["edited"] = edited_.states;
}

void Follow::load(const Saved& in) {
  differ_ = in.about.at("differ").get<bool>();
  edited_.states = in.tensors.at("edited");
}

bool Follow::removed(const arch::Block& block) const {
  return std::any_of(edits_.begin(), edits_.end(),
                     [&](const Edit* e) { return e->removes(view(block)); });
}

// Equal streams are refitted for an edit that wants all matrices: what it is given stays the same.
bool Follow::refits() const {
  return options_.refit &&
         (streams_differ() || std::any_of(edits_.begin(), edits_.end(),
                                          [](const Edit* e) { return e->all_matrices(); }));
}

// The last block of the layer that stays.
bool Follow::is_last(const arch::Block& block) const {
  const arch::Block* last = nullptr;
  for (const arch::Block& b : layer_->arch().blocks)
    if (b.in(layer_->dims().layers[0]) && !removed(b)) last = &b;
  return &block == last;
}

// The positions of an extent that survive. Empty when all do.
std::optional<Tensor> Follow::positions(const arch::Extent& extent, const Kept& kept) const {
  const arch::ModelDims& dims = exact_->dims();
  const arch::LayerDims& full = dims.layers[static_cast<std::size_t>(source_)];
  std::optional<std::vector<std::int64_t>> out;
  for (const auto& [axis, indices] : kept) {
    if (!touches(extent, axis)) continue;
    std::vector<std::int64_t> these = arch::surviving(extent, axis, indices, dims, &full), both;
    if (!out) {
      out = std::move(these);
      continue;
    }
    std::set_intersection(out->begin(), out->end(), these.begin(), these.end(),
                          std::back_inserter(both));
    out = std::move(both);
  }
  if (!out) return std::nullopt;
  return as_index(*out);
}

// The layer with the hidden selection applied and all of its KV groups and channels. Matrices that
// the selection does not touch are shared with the exact model.
model::Transformer Follow::one_layer_model(const model::Transformer& model, int source) const {
  const arch::ModelDims& d = model.dims();
  const arch::LayerDims& full = d.layers[static_cast<std::size_t>(source)];
  arch::ModelDims dims = d;
  dims.vocab = 1;
  dims.tied = true;
  if (options_.hidden) dims.hidden = static_cast<std::int64_t>(options_.hidden->size());
  dims.layers = {full};
  const auto is_norm = [&](Role role) {
    const auto& blocks = model.arch().blocks;
    return std::any_of(blocks.begin(), blocks.end(),
                       [&](const arch::Block& block) { return block.norm == role; });
  };
  model::Transformer out = model::Transformer::empty(model.arch(), dims, model.options());
  for (const arch::TensorSpec* spec : arch::layer_tensors(model.arch(), d, full)) {
    Tensor w = model.weight(spec->role, source);
    const auto kept = [&](const auto& axes) {
      return as_index(arch::surviving(axes, Axis::hidden, *options_.hidden, d, &full));
    };
    if (options_.hidden && touches(spec->rows, Axis::hidden))
      w = w.index_select(0, kept(spec->rows));
    if (options_.hidden && touches(spec->cols, Axis::hidden))
      w = w.index_select(1, kept(spec->cols));
    if (options_.gain_factor != 1 && is_norm(spec->role))
      w = scaled_gains(model.arch(), w, options_.gain_factor);
    out.set_weight(spec->role, 0, w);
  }
  return out;
}

void Follow::layer_begin(model::Transformer& model, int layer) {
  const std::size_t k = layers_.size();
  if (k >= options_.keep_layers.size() || options_.keep_layers[k] != layer) return;
  source_ = layer;
  next_ = end_of(k) + 1;
  layer_.emplace(one_layer_model(model, layer));
  result_ = {};
  inputs_ = {};
}

void Follow::see(model::Tap point, int layer, std::int64_t batch, const Tensor& value) {
  if (!layer_ || layer != source_) return;
  const auto input = model::input_at(exact_->arch(), point);
  if (!input || removed(*input->block)) return;
  const arch::Block& block = *input->block;
  if (const std::int64_t n = read_of(batch); !input->inner && n > 0 && refits())
    inputs_.add(layer_->norm(block.norm, 0, edited_.at(batch).narrow(0, 0, n)),
                value.narrow(0, 0, n), n_seen_ - batch * edited_.batch,
                exact_->options().matmul_dtype);
  if (input->inner && block.norm_behind)
    products_.push_back(on_hidden(value.matmul(exact_->weight(block.consumer, layer).t()), -1));
}

// How many windows of a batch are not there to be judged alone.
std::int64_t Follow::read_of(std::int64_t batch) const {
  return std::clamp<std::int64_t>(n_read_ - batch * edited_.batch, 0, edited_.at(batch).size(0));
}

// That of the layer before, for the same matrix.
double Follow::likely_ridge(Role role) const {
  if (options_.ridge) return *options_.ridge;
  if (layers_.empty() || !layers_.back().ridges.contains(role)) return kFirstRidge;
  return layers_.back().ridges.at(role);
}

double Follow::ridge_for(Role role, const SplitEquations& equations, const Tensor& prior) const {
  if (options_.ridge) return *options_.ridge;
  return equations.splits() ? choose_ridge(equations, prior, likely_ridge(role))
                            : kRidgeOfOneWindow;
}

Tensor Follow::edit(const arch::Block& block, Role role, Tensor weights,
                    const NormalEquations& inputs) {
  for (Edit* e : edits_) weights = e->matrix(view(block), role, std::move(weights), inputs);
  weights = weights.to(torch::kFloat32).contiguous();
  result_.refitted[role] = weights;
  return weights;
}

void Follow::edit_readers(model::Transformer& model, const arch::Block& block) {
  const NormalEquations all = inputs_.all();
  if (!all.gram.defined()) return;
  const Tensor same = on_hidden(torch::eye(model.dims().hidden), -1);
  const double ridge = ridge_for(block.readers.front(), inputs_, same);
  inputs_ = {};
  result_.ridges[block.readers.front()] = ridge;
  const Tensor map = all.solve(same, ridge).to(torch::kFloat32).contiguous();
  for (const Role role : block.readers) {
    layer_->set_weight(role, 0, edit(block, role, model.weight(role, source_).matmul(map), all));
    model.unload(role, source_);
  }
}

void Follow::activate(const arch::Block& block) {
  const core::Section section("forward");
  const model::AllocationReuse reuse;
  activations_.clear();
  std::int64_t used = 0;
  for (std::int64_t b = 0; b < edited_.batches(); ++b) {
    const Tensor a = layer_->activation(block, 0, edited_.at(b));
    const std::int64_t all = edited_.states.size(0) * edited_.states.size(1) * a.size(-1);
    if (!memory_.defined() || memory_.numel() < all) memory_ = torch::empty({all});
    activations_.push_back(memory_.narrow(0, used, a.numel()).view(a.sizes()).copy_(a));
    used += a.numel();
  }
}

void Follow::block_end(model::Transformer& model, int layer, const arch::Block& block,
                       const Stream& stream) {
  if (!layer_ || layer != source_) return;
  if (removed(block)) {
    differ_ = true;  // later matrices make up for the block
    return;
  }
  edit_readers(model, block);
  activate(block);
  if (is_last(block) && next_ > layer + 1) {
    open_ = &block;
  } else {
    finish_block(block, stream, false);
  }
}

void Follow::layer_end(model::Transformer&, int layer, const Stream& stream) {
  if (!layer_ || layer + 1 != next_) return;
  if (open_ != nullptr) finish_block(*std::exchange(open_, nullptr), stream, true);
  if (next_ > source_ + 1) differ_ = true;
  layers_.push_back(std::move(result_));
  layer_.reset();
}

// What the consumer should give, and the token's weight.
Follow::Aim Follow::aim_of(const arch::Block& block, const Stream& exact, std::int64_t b) const {
  const Tensor target =
      products_.empty() ? on_hidden(exact.at(b), -1) : products_[static_cast<std::size_t>(b)];
  Aim out{target, inverse_rms(target)};
  if (!products_.empty()) return out;
  out.value = (target - edited_.at(b)) / layer_->dims().residual_factor;
  if (const auto bias = arch::bias_of(block.consumer); bias && layer_->has(*bias, 0))
    out.value = out.value - layer_->weight(*bias, 0);
  return out;
}

SplitEquations Follow::consumer_equations(const arch::Block& block, const Stream& exact,
                                          bool with_abs) const {
  const model::AllocationReuse reuse;
  SplitEquations out;
  for (std::int64_t b = 0; b < edited_.batches(); ++b) {
    const std::int64_t n = read_of(b);
    if (n == 0) break;
    const Aim aim = aim_of(block, exact, b);
    const Tensor weight = aim.weight.narrow(0, 0, n),
                 a = activations_[static_cast<std::size_t>(b)].narrow(0, 0, n) * weight;
    out.add(a, aim.value.narrow(0, 0, n) * weight, n_seen_ - b * edited_.batch,
            exact_->options().matmul_dtype);
    if (with_abs) out.add_abs(a);
  }
  return out;
}

// The bias takes up the mean of what the consumer, as it is now, leaves.
void Follow::set_bias(const arch::Block& block, const Stream& exact) {
  const Role role = *arch::bias_of(block.consumer);
  const Tensor& consumer = layer_->weight(block.consumer, 0);
  Tensor sum = torch::zeros({consumer.size(0)}, torch::kFloat64);
  double total = 0;
  for (std::int64_t b = 0; b < edited_.batches(); ++b) {
    const std::int64_t n = read_of(b);
    if (n == 0) break;
    const Aim aim = aim_of(block, exact, b);
    const Tensor given = activations_[static_cast<std::size_t>(b)].matmul(consumer.t()),
                 left = (aim.value - given).narrow(0, 0, n),
                 weight = aim.weight.square().narrow(0, 0, n);
    sum += (left * weight).flatten(0, 1).sum(0, false, torch::kFloat64);
    total += weight.sum(torch::kFloat64).item<double>();
  }
  Tensor bias = (sum / total).to(torch::kFloat32);
  if (layer_->has(role, 0)) bias = bias + layer_->weight(role, 0);
  layer_->set_weight(role, 0, bias);
  result_.refitted[role] = bias;
}

// Cuts the consumer, the activations and the refitted readers. Returns the consumer's columns that
// stay, and restricts `equations` to them.
Tensor Follow::cut(const arch::Block& block, const Tensor& consumer, bool refit,
                   SplitEquations& equations) {
  const NormalEquations all = equations.all();
  const Tensor fitted =
      refit ? all.solve(consumer, likely_ridge(block.consumer)).to(torch::kFloat32).contiguous()
            : consumer;
  Kept kept;
  for (Edit* e : edits_)
    if (e->cuts(view(block))) kept = e->keep(view(block), all, fitted);
  for (const Role role : block.readers) {
    const auto found = result_.refitted.find(role);
    if (found == result_.refitted.end()) continue;
    if (const auto rows = positions(arch::find_spec(exact_->arch(), role)->rows, kept))
      found->second = found->second.index_select(0, *rows);
  }
  const auto columns = positions(arch::find_spec(exact_->arch(), block.consumer)->cols, kept);
  result_.kept.merge(kept);
  if (!columns) return consumer;
  for (Tensor& a : activations_) a = a.index_select(-1, *columns);
  if (refit) equations = equations.of(*columns);
  return consumer.index_select(1, *columns);
}

void Follow::finish_block(const arch::Block& block, const Stream& exact, bool later) {
  const bool cuts = std::any_of(edits_.begin(), edits_.end(),
                                [&](const Edit* e) { return e->cuts(view(block)); });
  const bool refit = options_.refit && (cuts || later || refits());
  const auto bias = arch::bias_of(block.consumer);
  const bool shift = bias && options_.biases.contains(*bias) && (cuts || later || streams_differ());
  Tensor consumer = layer_->weight(block.consumer, 0);
  SplitEquations equations;
  if (cuts || refit) equations = consumer_equations(block, exact, cuts);
  if (cuts) consumer = cut(block, consumer, refit, equations);
  if (refit) {
    const NormalEquations all = equations.all();
    const double ridge = ridge_for(block.consumer, equations, consumer);
    equations = {};
    result_.ridges[block.consumer] = ridge;
    consumer = edit(block, block.consumer, all.solve(consumer, ridge), all);
    differ_ = true;
  }
  layer_->set_weight(block.consumer, 0, consumer);
  if (shift) {
    set_bias(block, exact);
    differ_ = true;
  }
  products_.clear();
  const core::Section section("forward");
  const model::AllocationReuse reuse;
  for (std::int64_t b = 0; b < edited_.batches(); ++b) {
    Tensor& a = activations_[static_cast<std::size_t>(b)];
    edited_.at(b).add_(layer_->output(block, 0, a));
    a.reset();
  }
}

}  // namespace espalier::layerwise
