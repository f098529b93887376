// SPDX-License-Identifier: Apache-2.0
// How busy other programs keep this machine while something is timed.
#pragma once

namespace espalier::timing {

class OtherPrograms {
 public:
  OtherPrograms();  // begins to watch
  // Share of all processors that other programs have used since, 0 to 1. 0 where the system does
  // not say (/proc/stat).
  double share() const;

 private:
  struct Ticks {
    double all = 0, busy = 0, own = 0;  // hundredths of a second
  };
  static Ticks now();
  const Ticks begin_;
};

}  // namespace espalier::timing
