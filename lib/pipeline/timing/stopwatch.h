// SPDX-License-Identifier: Apache-2.0
// Measures speeds and predicts seconds from them.
#pragma once
#include <map>
#include <span>
#include <string>
#include <vector>

#include "timing/work.h"

namespace espalier::timing {

class Stopwatch {
 public:
  // Times samples of what `works` consist of, the most important first, for at most about
  // `seconds` in all. What makes up less than a five-hundredth is not timed. Later calls add to
  // what is known.
  void measure(std::span<const Work> works, double seconds);
  // Expected seconds. What was not timed is taken to be as much faster or slower than usual as what
  // was timed of its kind, else as everything that was timed.
  double seconds(const Work& work) const;

  struct Speed {
    std::string kind, key;
    double per_second;
  };
  std::vector<Speed> speeds() const;  // what was timed
  double spent() const { return spent_; }

 private:
  double speed_of(const Item& item) const;

  struct Timed {
    std::string kind;
    double per_second, usual;
  };
  std::map<std::string, Timed> timed_;  // by key
  double spent_ = 0;
};

}  // namespace espalier::timing
