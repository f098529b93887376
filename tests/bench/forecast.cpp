// SPDX-License-Identifier: Apache-2.0
// Predicts the seconds of prune, distill, quantize and verify for tests/bench/forecast.py, which
// measures them.
//
// usage: forecast MODEL FFN PRUNE_TOKENS DISTILL_TOKENS QUANTIZE_TOKENS WINDOWS DIRECTORY
#include <cstdint>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "checkpoint/checkpoint.h"
#include "timing/stages.h"
#include "timing/stopwatch.h"

namespace {

using namespace espalier;

int predict(char** words) {
  const auto source = checkpoint::Checkpoint::open(words[1]);
  const auto number = [&](int i) -> std::int64_t { return std::stoll(words[i]); };
  const timing::Place place{0, words[7]};
  const timing::Stored teacher{{&source.arch(), source.dims()},
                               source.stored_format(arch::Role::ffn_gate, 0)};
  timing::Stored student = teacher, file = teacher;
  for (arch::LayerDims& l : student.model.dims.layers) l[arch::Axis::ffn] = number(2);
  student.format = format::FormatId::f32;
  file.model = student.model;
  file.format = format::FormatId::q4_0;
  constexpr std::int64_t kStep = 4 * 512;
  const std::vector<std::string> names{"prune", "distill", "quantize", "verify"};
  const std::vector<timing::Work> works{
      work_of(timing::PruneWork{teacher, student.model.dims, {number(3)}}, place),
      work_of(timing::DistillWork{.teacher = &teacher,
                                  .student = student,
                                  .steps = number(4) / kStep,
                                  .tokens_per_step = kStep,
                                  .windows_at_once = 4},
              place),
      work_of(
          timing::QuantizeWork{student, format::FormatId::q4_0, quant::Rounding::gptq, {number(5)}},
          place),
      work_of(timing::VerifyWork{file, teacher, {student}, {}, number(6)}, place)};
  timing::Stopwatch watch;
  watch.measure(works, 10);
  nlohmann::ordered_json out{{"measured_seconds", watch.spent()}};
  for (std::size_t i = 0; i < works.size(); ++i) {
    out["stages"][names[i]]["seconds"] = watch.seconds(works[i]);
    for (const timing::Item& item : works[i]) {
      auto& part = out["stages"][names[i]]["parts"][item.kind];
      part = (part.is_number() ? part.get<double>() : 0.0) + watch.seconds(timing::Work{item});
    }
  }
  for (const auto& speed : watch.speeds()) out["speeds"][speed.key] = speed.per_second;
  std::cout << out.dump(1) << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    std::cerr << "usage: forecast MODEL FFN PRUNE_TOKENS DISTILL_TOKENS QUANTIZE_TOKENS WINDOWS "
                 "DIRECTORY\n";
    return 2;
  }
  try {
    return predict(argv);
  } catch (const std::exception& e) {
    std::cerr << "forecast: " << e.what() << "\n";
    return 1;
  }
}
