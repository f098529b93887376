// SPDX-License-Identifier: Apache-2.0
// For each chunk, one matrix product per model gives the logits. Row by row follow the loss and its
// gradient by the logits, from row_loss.h. Other terms use autograd inside the chunk. Two more
// products give the gradients by hidden states and output weights.
#include "objective/chunked_loss.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/profile.h"
#include "model/ops/operations.h"
#include "objective/row_loss.h"

namespace espalier::objective {
namespace {

using torch::Tensor;

// Logits of a chunk take 96 MB per model. Each product packs the output weights anew. With 256
// tokens of SmolLM2 it reaches 100 GFLOP/s on two Zen 3 cores, with 512 tokens 140, with 1024 no
// more.
std::int64_t default_chunk(std::int64_t vocab) {
  return std::clamp<std::int64_t>((std::int64_t{24} << 20) / vocab, 16, 4096);
}

// An operand of a matrix product, cast to the type of the computation.
Tensor cast(const Tensor& x, torch::ScalarType dtype) { return x.detach().to(dtype); }
void count_product(const Tensor& a, const Tensor& b) {
  core::count_operations(2.0 * static_cast<double>(a.numel()) * static_cast<double>(b.size(1)));
}
void multiply_into(Tensor& out, const Tensor& a, const Tensor& b) {
  count_product(a, b);
  if (a.scalar_type() == out.scalar_type()) {
    at::mm_out(out, a, b);
  } else {
    out.copy_(at::mm(a, b));
  }
}

// x -> c tanh(x / c). Returns the derivative by x, by which the gradient is multiplied.
Tensor soft_cap(Tensor& logits, double cap) {
  const Tensor t = logits.div_(cap).tanh_();
  const Tensor slope = 1.0 - t.square();
  logits.mul_(cap);
  return slope;
}

// Where the terms stand in row_loss.h.
struct Places {
  std::optional<std::size_t> kl, ce;
};
// nullopt when a term that is computed has no place there, or loops of the host cannot compute it.
// Without a teacher, those of logits are not computed.
std::optional<Places> places_of(const ChunkedLossInput& in) {
  if (in.student_hidden.scalar_type() != torch::kFloat32) return std::nullopt;
  if (!in.sparse_teacher.defined() && !model::loops_of_host(in.student_hidden.device()))
    return std::nullopt;
  const bool has_teacher = in.teacher_hidden.defined() || in.sparse_teacher.defined();
  Places out;
  for (std::size_t i = 0; i < in.terms.size(); ++i) {
    const Term& term = *in.terms[i].term;
    if (term.reads == Reads::logits && !has_teacher) continue;
    std::optional<std::size_t>& place = term.reads == Reads::text ? out.ce : out.kl;
    if (!term.fused || place) return std::nullopt;
    place = i;
  }
  return out;
}
RowWeights row_weights(const ChunkedLossInput& in, const Places& places) {
  const auto weight = [&](std::optional<std::size_t> place) {
    return place ? static_cast<float>(in.terms[*place].weight) : 0.0f;
  };
  return {weight(places.kl), weight(places.ce), static_cast<float>(in.temperature)};
}

struct RowSums {
  double kl = 0, ce = 0;
};

RowSums total(const std::vector<RowLoss>& rows) {
  RowSums sums;
  for (const RowLoss& row : rows) {
    sums.kl += row.kl;
    sums.ce += row.ce;
  }
  return sums;
}

RowSums fused_rows(Tensor& student, Tensor* teacher, const Tensor& targets,
                   const RowWeights& weights) {
  const std::int64_t rows = student.size(0), vocab = student.size(1);
  float* s = student.mutable_data_ptr<float>();
  float* t = teacher != nullptr ? teacher->mutable_data_ptr<float>() : nullptr;
  const std::int64_t* target = targets.const_data_ptr<std::int64_t>();
  std::vector<RowLoss> each(static_cast<std::size_t>(rows));
  at::parallel_for(0, rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      each[static_cast<std::size_t>(r)] = row_loss(
          s + r * vocab, t != nullptr ? t + r * vocab : nullptr, vocab, target[r], weights);
  });
  return total(each);
}

// `begin` is the index of the first of these rows among the teacher's rows.
RowSums sparse_rows(Tensor& student, const SparseLogits& teacher, std::int64_t begin,
                    const Tensor& targets, const RowWeights& weights) {
  const std::int64_t rows = student.size(0), vocab = student.size(1), k = teacher.ids.size(1);
  float* s = student.mutable_data_ptr<float>();
  const std::int32_t* ids = teacher.ids.const_data_ptr<std::int32_t>() + begin * k;
  const float* values = teacher.log_probabilities.const_data_ptr<float>() + begin * k;
  const float* rest = teacher.rest.const_data_ptr<float>() + begin;
  const std::int64_t* target = targets.const_data_ptr<std::int64_t>();
  std::vector<RowLoss> each(static_cast<std::size_t>(rows));
  at::parallel_for(0, rows, 1, [&](std::int64_t first, std::int64_t end) {
    std::vector<float> scratch(static_cast<std::size_t>(k));
    for (std::int64_t r = first; r < end; ++r)
      each[static_cast<std::size_t>(r)] =
          sparse_row_loss(s + r * vocab, {ids + r * k, values + r * k, k, rest[r]}, scratch.data(),
                          vocab, target[r], weights);
  });
  return total(each);
}

// Overwrites the student's logits with the gradient. Returns the sum of each term.
std::vector<double> autograd_rows(Tensor& student, const Tensor& teacher, const Tensor& targets,
                                  const ChunkedLossInput& in) {
  torch::AutoGradMode with_grad(true);
  const Tensor logits = student.detach().clone().requires_grad_(true);
  const Tensor mask = targets.ge(0).to(student.scalar_type());
  Tensor student_log, teacher_log;  // at the temperature
  if (teacher.defined()) {
    student_log = torch::log_softmax(logits / in.temperature, -1);
    teacher_log = torch::log_softmax(teacher / in.temperature, -1);
  }
  std::vector<Tensor> values;
  Tensor loss;
  for (const WeightedTerm& t : in.terms) {
    const bool text = t.term->reads == Reads::text;
    if (!text && !teacher.defined()) {
      values.emplace_back();
      continue;
    }
    const Tensor of_tokens =
        t.term->of_tokens({text ? torch::log_softmax(logits, -1) : student_log,
                           text ? Tensor() : teacher_log, targets.clamp_min(0), in.term_options});
    Tensor value = (of_tokens * mask).sum();
    if (!text) value = value * (in.temperature * in.temperature);
    const Tensor weighted = t.weight * value;
    loss = loss.defined() ? loss + weighted : weighted;
    values.push_back(value);
  }
  ESP_CHECK(loss.defined(), internal, "no term can be computed from what is given");
  const auto gradient = torch::autograd::grad({loss}, {logits});
  student.copy_(gradient[0]);
  std::vector<double> sums;
  for (const Tensor& value : values) sums.push_back(value.defined() ? value.item<double>() : 0.0);
  return sums;
}

void check(const ChunkedLossInput& in) {
  const bool distills = in.teacher_hidden.defined(), sparse = in.sparse_teacher.defined();
  const std::int64_t n = in.student_hidden.size(0), H = in.student_hidden.size(1),
                     V = in.student_output.size(0);
  ESP_CHECK(in.targets.size(0) == n && in.targets.scalar_type() == torch::kInt64, internal,
            "targets must be int64, one for each of ", n, " hidden states");
  ESP_CHECK(in.student_output.size(1) == H, internal, "output weights of width ",
            in.student_output.size(1), " for hidden states of width ", H);
  ESP_CHECK(!distills || (in.teacher_hidden.size(0) == n && in.teacher_output.size(0) == V),
            internal, "teacher with ", in.teacher_output.size(0), " tokens of vocabulary against ",
            V);
  for (const WeightedTerm& t : in.terms) {
    ESP_CHECK(t.term->reads != Reads::states, internal, "the term ", t.term->name,
              " reads no logits");
    ESP_CHECK(!sparse || (!distills && t.term->cacheable), internal,
              "a sparse teacher together with a full teacher, or for the term ", t.term->name,
              ", which has no sparse form");
  }
  const SparseLogits& given = in.sparse_teacher;
  ESP_CHECK(
      !sparse || (given.ids.size(0) == n && given.log_probabilities.sizes() == given.ids.sizes() &&
                  given.rest.numel() == n && given.ids.size(1) <= V && given.ids.is_contiguous() &&
                  given.log_probabilities.is_contiguous() && given.rest.is_contiguous()),
      internal, "sparse teacher logits do not have the shape for ", n, " tokens");
  ESP_CHECK(in.temperature > 0, usage, "temperature ", in.temperature, " is not positive");
}

// Where the gradient by the output weights is added; undefined when it is not wanted.
Tensor output_gradient_of(const ChunkedLossInput& in) {
  if (!in.output_gradient) return {};
  if (!in.student_output.grad().defined())
    in.student_output.mutable_grad() = torch::zeros_like(in.student_output);
  return in.student_output.grad();
}

// Room for the logits of a chunk.
void provide(Tensor& buffer, std::int64_t chunk, std::int64_t vocab,
             const torch::TensorOptions& like) {
  if (!buffer.defined() || buffer.size(0) < chunk || buffer.size(1) != vocab ||
      buffer.dtype() != like.dtype())
    buffer = torch::empty({chunk, vocab}, like);
}

// sum += gradient^T hidden
void add_output_gradient(Tensor& sum, const Tensor& gradient, const Tensor& hidden) {
  count_product(gradient.t(), hidden);
  if (gradient.scalar_type() == sum.scalar_type()) {
    sum.addmm_(gradient.t(), hidden);
  } else {
    sum.add_(at::mm(gradient.t(), hidden));
  }
}

// What all chunks share: operands of products in their dtype.
struct Operands {
  Tensor student_hidden, student_output, teacher_hidden, teacher_output;
  explicit Operands(const ChunkedLossInput& in)
      : student_hidden(cast(in.student_hidden, in.matmul_dtype)),
        student_output(cast(in.student_output, in.matmul_dtype)) {
    if (!in.teacher_hidden.defined()) return;
    teacher_hidden = cast(in.teacher_hidden, in.matmul_dtype);
    teacher_output = cast(in.teacher_output, in.matmul_dtype);
  }
};

// The logits of some rows, into `student` and `teacher`. Returns the slope of the student's
// soft-cap; undefined when it has none.
Tensor logits_of(const ChunkedLossInput& in, const Operands& of, std::int64_t begin,
                 Tensor& student, Tensor& teacher) {
  multiply_into(student, of.student_hidden.narrow(0, begin, student.size(0)),
                of.student_output.t());
  if (teacher.defined()) {
    multiply_into(teacher, of.teacher_hidden.narrow(0, begin, teacher.size(0)),
                  of.teacher_output.t());
    if (in.teacher_softcap > 0) soft_cap(teacher, in.teacher_softcap);
  }
  return in.student_softcap > 0 ? soft_cap(student, in.student_softcap) : Tensor();
}

// Turns the student's logits into the gradient. Returns the sum of each term.
std::vector<double> rows_of(const ChunkedLossInput& in, const std::optional<Places>& places,
                            std::int64_t begin, const Tensor& targets, Tensor& student,
                            Tensor& teacher) {
  if (!places) {
    ESP_CHECK(!in.sparse_teacher.defined(), internal,
              "a sparse teacher for terms or a dtype without a sparse form");
    return autograd_rows(student, teacher, targets, in);
  }
  const RowWeights weights = row_weights(in, *places);
  const RowSums sums =
      in.sparse_teacher.defined()
          ? sparse_rows(student, in.sparse_teacher, begin, targets, weights)
          : fused_rows(student, teacher.defined() ? &teacher : nullptr, targets, weights);
  std::vector<double> out(in.terms.size());
  if (places->kl) out[*places->kl] = sums.kl;
  if (places->ce) out[*places->ce] = sums.ce;
  return out;
}

}  // namespace

ChunkedLoss chunked_loss(const ChunkedLossInput& in, LogitBuffers& buffers) {
  torch::NoGradGuard no_grad;
  check(in);
  const bool distills = in.teacher_hidden.defined();
  const std::int64_t n = in.student_hidden.size(0), H = in.student_hidden.size(1),
                     V = in.student_output.size(0);
  const torch::TensorOptions like = in.student_hidden.options();
  const std::optional<Places> places = places_of(in);
  const Tensor targets = in.targets.contiguous();
  const Operands operands(in);
  Tensor output_gradient = output_gradient_of(in);

  const std::int64_t chunk = std::min(n, in.token_chunk > 0 ? in.token_chunk : default_chunk(V));
  provide(buffers.student, chunk, V, like);
  if (distills) provide(buffers.teacher, chunk, V, like);
  ChunkedLoss out;
  out.sums.resize(in.terms.size());
  if (in.hidden_gradient) out.hidden_gradient = torch::empty({n, H}, like);
  for (std::int64_t begin = 0; begin < n; begin += chunk) {
    const std::int64_t rows = std::min(chunk, n - begin);
    Tensor student = buffers.student.narrow(0, 0, rows),
           teacher = distills ? buffers.teacher.narrow(0, 0, rows) : Tensor();
    const Tensor slope = logits_of(in, operands, begin, student, teacher);
    const std::vector<double> sums =
        rows_of(in, places, begin, targets.narrow(0, begin, rows), student, teacher);
    for (std::size_t i = 0; i < sums.size(); ++i) out.sums[i] += sums[i];

    if (slope.defined()) student.mul_(slope);
    const Tensor gradient = cast(student, in.matmul_dtype);
    if (in.hidden_gradient) {
      Tensor target_rows = out.hidden_gradient.narrow(0, begin, rows);
      multiply_into(target_rows, gradient, operands.student_output);
    }
    if (in.output_gradient)
      add_output_gradient(output_gradient, gradient,
                          operands.student_hidden.narrow(0, begin, rows));
  }
  out.tokens = targets.ge(0).sum().item<std::int64_t>();
  for (std::size_t i = 0; i < in.terms.size(); ++i)
    out.loss_sum += in.terms[i].weight * out.sums[i];
  return out;
}

}  // namespace espalier::objective
