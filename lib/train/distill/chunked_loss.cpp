// SPDX-License-Identifier: Apache-2.0
// For each chunk, one matrix product per model gives the logits. Row by row follow the loss and its
// gradient by the logits, from row_loss.h. Other losses use autograd inside the chunk. Two more
// products give the gradients by hidden states and output weights.
#include "distill/chunked_loss.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/profile.h"
#include "distill/loss.h"
#include "distill/row_loss.h"

namespace espalier::distill {
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

struct Sums {
  double kl = 0, ce = 0;
};

Sums total(const std::vector<RowLoss>& rows) {
  Sums sums;
  for (const RowLoss& row : rows) {
    sums.kl += row.kl;
    sums.ce += row.ce;
  }
  return sums;
}

Sums fused_rows(Tensor& student, Tensor* teacher, const Tensor& targets,
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
Sums sparse_rows(Tensor& student, const SparseLogits& teacher, std::int64_t begin,
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

// Overwrites the student's logits with the gradient.
Sums autograd_rows(Tensor& student, const Tensor& teacher, const Tensor& targets, const Loss& loss,
                   const ChunkedLossInput& in) {
  torch::AutoGradMode with_grad(true);
  const Tensor logits = student.detach().clone().requires_grad_(true), scored = targets.ge(0);
  const Tensor mask = scored.to(torch::kFloat32);
  const Tensor kl = (loss.divergence(torch::log_softmax(logits / in.temperature, -1),
                                     torch::log_softmax(teacher / in.temperature, -1)) *
                     mask)
                        .sum() *
                    (in.temperature * in.temperature);
  const Tensor picked =
      torch::log_softmax(logits, -1).gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1);
  const Tensor ce = -(picked * mask).sum();
  const auto gradient = torch::autograd::grad({in.kl_weight * kl + in.ce_weight * ce}, {logits});
  student.copy_(gradient[0]);
  return {kl.item<double>(), ce.item<double>()};
}

void check(const ChunkedLossInput& in, const Loss& loss) {
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
  ESP_CHECK(!sparse || (!distills && loss.sparse), internal,
            "a sparse teacher together with a full teacher, or for loss ", loss.name,
            ", which has no sparse form");
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
void provide(Tensor& buffer, std::int64_t chunk, std::int64_t vocab) {
  if (!buffer.defined() || buffer.size(0) < chunk || buffer.size(1) != vocab)
    buffer = torch::empty({chunk, vocab});
}

// sum += gradient^T hidden
void add_output_gradient(Tensor& sum, const Tensor& gradient, const Tensor& hidden) {
  count_product(gradient.t(), hidden);
  if (gradient.scalar_type() == torch::kFloat32) {
    sum.addmm_(gradient.t(), hidden);
  } else {
    sum.add_(at::mm(gradient.t(), hidden));
  }
}

}  // namespace

ChunkedLoss chunked_loss(const ChunkedLossInput& in, LogitBuffers& buffers) {
  torch::NoGradGuard no_grad;
  const bool distills = in.teacher_hidden.defined(), sparse = in.sparse_teacher.defined();
  const Loss& loss = loss_by_name(in.loss);
  check(in, loss);
  const std::int64_t n = in.student_hidden.size(0), H = in.student_hidden.size(1),
                     V = in.student_output.size(0);
  const Tensor targets = in.targets.contiguous();
  const Tensor student_hidden = cast(in.student_hidden, in.matmul_dtype),
               student_output = cast(in.student_output, in.matmul_dtype);
  const Tensor teacher_hidden = distills ? cast(in.teacher_hidden, in.matmul_dtype) : Tensor();
  const Tensor teacher_output = distills ? cast(in.teacher_output, in.matmul_dtype) : Tensor();
  Tensor output_gradient = output_gradient_of(in);

  const std::int64_t chunk = std::min(n, in.token_chunk > 0 ? in.token_chunk : default_chunk(V));
  provide(buffers.student, chunk, V);
  if (distills) provide(buffers.teacher, chunk, V);
  ChunkedLoss out;
  if (in.hidden_gradient) out.hidden_gradient = torch::empty({n, H});
  const RowWeights weights{static_cast<float>(in.kl_weight), static_cast<float>(in.ce_weight),
                           static_cast<float>(in.temperature)};
  for (std::int64_t begin = 0; begin < n; begin += chunk) {
    const std::int64_t rows = std::min(chunk, n - begin);
    const Tensor hidden = student_hidden.narrow(0, begin, rows),
                 chunk_targets = targets.narrow(0, begin, rows);
    Tensor student = buffers.student.narrow(0, 0, rows), teacher;
    multiply_into(student, hidden, student_output.t());
    if (distills) {
      teacher = buffers.teacher.narrow(0, 0, rows);
      multiply_into(teacher, teacher_hidden.narrow(0, begin, rows), teacher_output.t());
    }
    if (distills && in.teacher_softcap > 0) soft_cap(teacher, in.teacher_softcap);
    const Tensor slope = in.student_softcap > 0 ? soft_cap(student, in.student_softcap) : Tensor();
    const Sums sums =
        sparse ? sparse_rows(student, in.sparse_teacher, begin, chunk_targets, weights)
        : distills && !loss.fused
            ? autograd_rows(student, teacher, chunk_targets, loss, in)
            : fused_rows(student, distills ? &teacher : nullptr, chunk_targets, weights);
    out.kl_sum += sums.kl;
    out.ce_sum += sums.ce;

    if (slope.defined()) student.mul_(slope);
    const Tensor gradient = cast(student, in.matmul_dtype);
    if (in.hidden_gradient) {
      Tensor target_rows = out.hidden_gradient.narrow(0, begin, rows);
      multiply_into(target_rows, gradient, student_output);
    }
    if (in.output_gradient) add_output_gradient(output_gradient, gradient, hidden);
  }
  out.tokens = targets.ge(0).sum().item<std::int64_t>();
  out.loss_sum = (distills || sparse ? in.kl_weight * out.kl_sum : 0.0) + in.ce_weight * out.ce_sum;
  return out;
}

}  // namespace espalier::distill
