// SPDX-License-Identifier: Apache-2.0
// Training options from YAML: a configs/train/ file of its own, or the keys of a distill stage.
#pragma once
#include <string>

#include "distill/trainer.h"
#include "recipe/yaml_reader.h"

namespace espalier::recipe {

distill::TrainOptions read_train_options(
    YamlMap& map);  // takes its keys; the caller finishes the map
distill::TrainOptions read_train_config(const std::string& path);  // a whole file

}  // namespace espalier::recipe
