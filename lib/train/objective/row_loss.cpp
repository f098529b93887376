// SPDX-License-Identifier: Apache-2.0
// The vector loops of row_loss. Sums run in float over blocks of 1024 values and then in double, so
// that their error does not grow with the vocabulary.
#include "objective/row_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/vector_math.h"

namespace espalier::objective {
namespace {

using model::fast_exp;
using model::Float8;
using model::kWidth;
using model::load8;
using model::store8;
using model::sum8;
constexpr std::int64_t kBlock = 1024;

ESP_VECTOR_CLONES float largest(const float* x, std::int64_t n) {
  float top = x[0];
  std::int64_t i = 0;
  if (n >= 4 * kWidth) {
    Float8 tops[4] = {load8(x), load8(x), load8(x), load8(x)};
    for (; i + 4 * kWidth <= n; i += 4 * kWidth)
      for (int j = 0; j < 4; ++j) {
        const Float8 v = load8(x + i + j * kWidth);
        tops[j] = v > tops[j] ? v : tops[j];
      }
    for (const Float8& t : tops)
      for (int j = 0; j < kWidth; ++j) top = std::max(top, t[j]);
  }
  for (; i < n; ++i) top = std::max(top, x[i]);
  return top;
}

// sum exp((x - top) * inverse_temperature)
ESP_VECTOR_CLONES double exp_sum(const float* x, std::int64_t n, float top,
                                 float inverse_temperature) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, n);
    Float8 sum = {};
    float rest = 0;
    std::int64_t i = begin;
    for (; i + kWidth <= end; i += kWidth)
      sum += fast_exp((load8(x + i) - top) * inverse_temperature);
    for (; i < end; ++i) rest += fast_exp((x[i] - top) * inverse_temperature);
    total += static_cast<double>(sum8(sum) + rest);
  }
  return total;
}
// The same, and stores the exponentials over x.
ESP_VECTOR_CLONES double exp_in_place(float* x, std::int64_t n, float top) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, n);
    Float8 sum = {};
    float rest = 0;
    std::int64_t i = begin;
    for (; i + kWidth <= end; i += kWidth) {
      const Float8 e = fast_exp(load8(x + i) - top);
      sum += e;
      store8(x + i, e);
    }
    for (; i < end; ++i) rest += x[i] = fast_exp(x[i] - top);
    total += static_cast<double>(sum8(sum) + rest);
  }
  return total;
}

struct TeacherSums {
  double exps = 0;      // sum e, e = exp((t - top) / temperature)
  double distance = 0;  // sum e * (t - s)
};
// Stores e over the teacher's logits.
ESP_VECTOR_CLONES TeacherSums teacher_sums(float* teacher, const float* student, std::int64_t n,
                                           float top, float inverse_temperature) {
  TeacherSums total;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, n);
    Float8 exps = {}, distance = {};
    float exps_rest = 0, distance_rest = 0;
    std::int64_t i = begin;
    for (; i + kWidth <= end; i += kWidth) {
      const Float8 t = load8(teacher + i), e = fast_exp((t - top) * inverse_temperature);
      exps += e;
      distance += e * (t - load8(student + i));
      store8(teacher + i, e);
    }
    for (; i < end; ++i) {
      const float t = teacher[i], e = fast_exp((t - top) * inverse_temperature);
      exps_rest += e;
      distance_rest += e * (t - student[i]);
      teacher[i] = e;
    }
    total.exps += static_cast<double>(sum8(exps) + exps_rest);
    total.distance += static_cast<double>(sum8(distance) + distance_rest);
  }
  return total;
}

// student = a * student - b * teacher
ESP_VECTOR_CLONES void difference(float* student, const float* teacher, std::int64_t n, float a,
                                  float b) {
  for (std::int64_t i = 0; i < n; ++i) student[i] = a * student[i] - b * teacher[i];
}
ESP_VECTOR_CLONES void scale(float* x, std::int64_t n, float a) {
  for (std::int64_t i = 0; i < n; ++i) x[i] *= a;
}
struct Factors {
  float c, a, b;
};
// student (logits) = c * exp(s - top) + a * exp((s - top) / temperature) - b * teacher
ESP_VECTOR_CLONES void tempered_gradient(float* student, const float* teacher, std::int64_t n,
                                         float top, float inverse_temperature, Factors by) {
  const float c = by.c, a = by.a, b = by.b;
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const Float8 x = load8(student + i) - top;
    store8(student + i,
           c * fast_exp(x) + a * fast_exp(x * inverse_temperature) - b * load8(teacher + i));
  }
  for (; i < n; ++i) {
    const float x = student[i] - top;
    student[i] = c * fast_exp(x) + a * fast_exp(x * inverse_temperature) - b * teacher[i];
  }
}

// x (logits) = c * exp(x - top) + a * exp((x - top) / temperature)
ESP_VECTOR_CLONES void tempered_sum(float* x, std::int64_t n, float top, float inverse_temperature,
                                    float c, float a) {
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const Float8 v = load8(x + i) - top;
    store8(x + i, c * fast_exp(v) + a * fast_exp(v * inverse_temperature));
  }
  for (; i < n; ++i)
    x[i] = c * fast_exp(x[i] - top) + a * fast_exp((x[i] - top) * inverse_temperature);
}

}  // namespace

RowLoss row_loss(float* student, float* teacher, std::int64_t vocab, std::int64_t target,
                 const RowWeights& weights) {
  RowLoss out;
  if (target < 0) {
    std::fill_n(student, vocab, 0.0f);
    return out;
  }
  const float temperature = weights.temperature, inverse = 1.0f / temperature;
  const float top = largest(student, vocab), target_logit = student[target];
  const auto f = [](double x) { return static_cast<float>(x); };
  TeacherSums t;
  float teacher_top = 0;
  if (teacher != nullptr) {
    teacher_top = largest(teacher, vocab);
    t = teacher_sums(teacher, student, vocab, teacher_top, inverse);
  }
  // log p_T - log p_S = (t - s) / T - ((teacher_top - top) / T + log sum_T - log sum_S)
  const auto divergence = [&](double student_exps) {
    return t.distance / t.exps * inverse - ((static_cast<double>(teacher_top) - top) * inverse +
                                            std::log(t.exps) - std::log(student_exps));
  };
  if (teacher == nullptr || temperature == 1.0f) {
    const double exps = exp_in_place(student, vocab, top);
    out.ce = std::log(exps) + top - target_logit;
    if (teacher != nullptr) {
      out.kl = divergence(exps);
      difference(student, teacher, vocab, f((weights.ce + weights.kl) / exps),
                 f(weights.kl / t.exps));
    } else {
      scale(student, vocab, f(weights.ce / exps));
    }
  } else {
    const double exps = exp_sum(student, vocab, top, 1.0f),
                 tempered = exp_sum(student, vocab, top, inverse);
    out.ce = std::log(exps) + top - target_logit;
    out.kl = static_cast<double>(temperature) * temperature * divergence(tempered);
    tempered_gradient(student, teacher, vocab, top, inverse,
                      {.c = f(weights.ce / exps),
                       .a = f(weights.kl * temperature / tempered),
                       .b = f(weights.kl * temperature / t.exps)});
  }
  student[target] -= weights.ce;
  return out;
}

RowLoss sparse_row_loss(float* student, const SparseRow& teacher, float* scratch,
                        std::int64_t vocab, std::int64_t target, const RowWeights& weights) {
  RowLoss out;
  if (target < 0) {
    std::fill_n(student, vocab, 0.0f);
    return out;
  }
  const float temperature = weights.temperature, inverse = 1.0f / temperature;
  const float top = largest(student, vocab), target_logit = student[target];
  const bool tempered = temperature != 1.0f;
  const auto f = [](double x) { return static_cast<float>(x); };
  const double whole = tempered ? exp_sum(student, vocab, top, 1.0f) : 0;  // at temperature 1
  // These logits are excluded, so that the rest is summed directly. Computing it as 1 minus the
  // mass in K would lose a small rest.
  double inside = 0;
  for (std::int64_t i = 0; i < teacher.k; ++i) {
    float& logit = student[teacher.ids[i]];
    scratch[i] = logit;
    inside += std::exp(static_cast<double>(logit - top) * inverse);
    logit = -std::numeric_limits<float>::infinity();
  }
  const double others =
      tempered ? exp_sum(student, vocab, top, inverse) : exp_in_place(student, vocab, top);
  const double exps = inside + others, log_exps = std::log(exps), ones = tempered ? whole : exps;
  out.ce = std::log(ones) + top - target_logit;
  for (std::int64_t i = 0; i < teacher.k; ++i) {
    const double log_p = teacher.log_probabilities[i];
    out.kl +=
        std::exp(log_p) * (log_p - (static_cast<double>(scratch[i] - top) * inverse - log_exps));
  }
  const double rest = teacher.rest;
  if (rest > 0) out.kl += rest * (std::log(rest) - (std::log(others) - log_exps));
  out.kl *= static_cast<double>(temperature) * temperature;

  const double ce_scale = weights.ce / ones, kl_scale = weights.kl * temperature / exps,
               rest_scale = rest > 0 ? weights.kl * temperature * rest / others : 0;
  if (tempered) {
    tempered_sum(student, vocab, top, inverse, f(ce_scale), f(kl_scale - rest_scale));
  } else {
    scale(student, vocab, f(ce_scale + kl_scale - rest_scale));
  }
  for (std::int64_t i = 0; i < teacher.k; ++i) {
    const double x = static_cast<double>(scratch[i]) - top;
    student[teacher.ids[i]] =
        f(ce_scale * std::exp(x) + kl_scale * std::exp(x * inverse) -
          weights.kl * temperature * std::exp(static_cast<double>(teacher.log_probabilities[i])));
  }
  student[target] -= weights.ce;
  return out;
}

}  // namespace espalier::objective
