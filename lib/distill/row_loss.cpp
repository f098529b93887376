// Vector loops of row_loss. Sums run in 32 float lanes over blocks of 1024 values and then in double, so that their error does not grow
// with the vocabulary.
#include "distill/row_loss.h"

#include <algorithm>
#include <cmath>

#include "model/vector_math.h"

namespace espalier::distill {
namespace {

using model::fast_exp;
using model::kLanes;
using model::sum_lanes;
constexpr std::int64_t kBlock = 1024;

ESP_VECTOR_CLONES float largest(const float* x, std::int64_t n) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = x[0];
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  for (; i < n; ++i) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
  return *std::max_element(lanes, lanes + kLanes);
}

// sum exp((x - top) * inverse_temperature)
ESP_VECTOR_CLONES double exp_sum(const float* x, std::int64_t n, float top, float inverse_temperature) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, n);
    float lanes[kLanes] = {};
    std::int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += fast_exp((x[i + j] - top) * inverse_temperature);
    for (; i < end; ++i) lanes[0] += fast_exp((x[i] - top) * inverse_temperature);
    total += static_cast<double>(sum_lanes(lanes));
  }
  return total;
}
// The same, storing the exponentials over x.
ESP_VECTOR_CLONES double exp_in_place(float* x, std::int64_t n, float top) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, n);
    float lanes[kLanes] = {};
    std::int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += x[i + j] = fast_exp(x[i + j] - top);
    for (; i < end; ++i) lanes[0] += x[i] = fast_exp(x[i] - top);
    total += static_cast<double>(sum_lanes(lanes));
  }
  return total;
}

struct TeacherSums {
  double exps = 0;      // sum e, e = exp((t - top) / temperature)
  double distance = 0;  // sum e * (t - s)
};
// Stores e over the teacher's logits.
ESP_VECTOR_CLONES TeacherSums teacher_sums(float* teacher, const float* student, std::int64_t n, float top, float inverse_temperature) {
  TeacherSums total;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, n);
    float exps[kLanes] = {}, distance[kLanes] = {};
    std::int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      for (std::int64_t j = 0; j < kLanes; ++j) {
        const float t = teacher[i + j], e = fast_exp((t - top) * inverse_temperature);
        exps[j] += e;
        distance[j] += e * (t - student[i + j]);
        teacher[i + j] = e;
      }
    for (; i < end; ++i) {
      const float t = teacher[i], e = fast_exp((t - top) * inverse_temperature);
      exps[0] += e;
      distance[0] += e * (t - student[i]);
      teacher[i] = e;
    }
    total.exps += static_cast<double>(sum_lanes(exps));
    total.distance += static_cast<double>(sum_lanes(distance));
  }
  return total;
}

// student = a * student - b * teacher
ESP_VECTOR_CLONES void difference(float* student, const float* teacher, std::int64_t n, float a, float b) {
  for (std::int64_t i = 0; i < n; ++i) student[i] = a * student[i] - b * teacher[i];
}
ESP_VECTOR_CLONES void scale(float* x, std::int64_t n, float a) {
  for (std::int64_t i = 0; i < n; ++i) x[i] *= a;
}
// student (logits) = c * exp(s - top) + a * exp((s - top) / temperature) - b * teacher
ESP_VECTOR_CLONES void tempered_gradient(float* student, const float* teacher, std::int64_t n, float top, float inverse_temperature, float c, float a,
                                         float b) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float x = student[i] - top;
    student[i] = c * fast_exp(x) + a * fast_exp(x * inverse_temperature) - b * teacher[i];
  }
}

}  // namespace

RowLoss row_loss(float* student, float* teacher, std::int64_t vocab, std::int64_t target, const RowWeights& weights) {
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
    return t.distance / t.exps * inverse - ((static_cast<double>(teacher_top) - top) * inverse + std::log(t.exps) - std::log(student_exps));
  };
  if (teacher == nullptr || temperature == 1.0f) {
    const double exps = exp_in_place(student, vocab, top);
    out.ce = std::log(exps) + top - target_logit;
    if (teacher != nullptr) {
      out.kl = divergence(exps);
      difference(student, teacher, vocab, f((weights.ce + weights.kl) / exps), f(weights.kl / t.exps));
    } else {
      scale(student, vocab, f(weights.ce / exps));
    }
  } else {
    const double exps = exp_sum(student, vocab, top, 1.0f), tempered = exp_sum(student, vocab, top, inverse);
    out.ce = std::log(exps) + top - target_logit;
    out.kl = static_cast<double>(temperature) * temperature * divergence(tempered);
    tempered_gradient(student, teacher, vocab, top, inverse, f(weights.ce / exps), f(weights.kl * temperature / tempered),
                      f(weights.kl * temperature / t.exps));
  }
  student[target] -= weights.ce;
  return out;
}

}  // namespace espalier::distill
