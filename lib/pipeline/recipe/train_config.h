// SPDX-License-Identifier: Apache-2.0
// Training options from YAML: a separate file of configs/train/, or the keys of a distill stage.
#pragma once
#include <string>

#include "distill/trainer.h"
#include "recipe/yaml_reader.h"

namespace espalier::recipe {

// Takes its keys from the map. The caller finishes the map.
distill::TrainOptions read_train_options(YamlMap& map);
distill::TrainOptions read_train_config(const std::string& path);  // reads a whole file

}  // namespace espalier::recipe
