// SPDX-License-Identifier: Apache-2.0
// Activation statistics for quantization: an importance matrix in llama.cpp's GGUF layout.
#include "calibrate/calibrate.h"

#include "checkpoint/manifest.h"
#include "core/units.h"
#include "stages/calibration.h"
#include "stages/stage.h"
#include "stages/texts.h"
#include "stages/work.h"

namespace espalier::stages {
namespace {

class Calibrate : public Stage {
 public:
  options::List options() override {
    options::List list = describe(calibration_);
    list.begin_group("statistics");
    list.add("gram", &gram_, "also store second-moment matrices, which gptq rounding needs");
    return list;
  }
  std::vector<Input> inputs() const override {
    return {{"from",
             "model",
             "model that reads the text",
             {Artifact::model, Artifact::gguf},
             "teacher",
             true},
            calibration_text("calibration text", /*required=*/true)};
  }
  std::vector<Output> outputs() const override { return {{Artifact::imatrix, "imatrix.gguf"}}; }
  bool deliverable() const override { return true; }
  void predict(Forecast& forecast) const override {
    const Shape& shape = forecast.model("from");
    plan_windows(*this, calibration_, "from", forecast);
    forecast.beside = {.about = shape, .has_grams = gram_};
    forecast.set_memory(shape, [&] {
      return calibrate::imatrix_memory(*shape.arch, shape.dims, calibration_, moments());
    });
    forecast.work =
        timing::work_of(timing::CalibrateWork{stored(shape), text_of(calibration_, shape), gram_},
                        forecast.machine);
  }
  Result run(const Context& context) override {
    const auto source = checkpoint::Checkpoint::open(context.path("from"));
    const text::CalibrationOptions windows = windows_within(
        *this, calibration_, context, source, "read fewer tokens, or leave gram out",
        [&](const text::CalibrationOptions& o) {
          return calibrate::imatrix_memory(source.arch(), source.dims(), o, moments());
        });
    const data::Mixture texts =
        data::load_mixture(texts_of(context, source, windows), text::Tokenizer(source.tokenizer()),
                           context.progress, context.reading);
    const quant::Imatrix imatrix = calibrate::collect_imatrix(source, texts, windows, moments(),
                                                              context.progress, context.part(""));
    quant::write_imatrix(imatrix, context.out, gram_);
    return {{{"tokens", imatrix.tokens}, {"tensors", imatrix.tensors.size()}},
            context.out + ": " + std::to_string(imatrix.tensors.size()) + " matrices over " +
                core::human_count(imatrix.tokens) + " tokens\n"};
  }

 private:
  calibrate::Moments moments() const {
    return gram_ ? calibrate::Moments::gram : calibrate::Moments::squares;
  }
  text::CalibrationOptions calibration_;
  bool gram_ = false;
};

}  // namespace

extern const Kind k_calibrate;
const Kind k_calibrate{
    "calibrate",
    "collect activation statistics for quantization",
    "espalier calibrate student --text train.txt --out imatrix.gguf",
    make_stage<Calibrate>,
    checkpoint::algorithm_version("quantize"),
    {{"tokens", "tokens that were read"}, {"tensors", "matrices with statistics"}}};

}  // namespace espalier::stages
