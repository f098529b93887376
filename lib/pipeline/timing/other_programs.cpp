// SPDX-License-Identifier: Apache-2.0
// Reads the counters of Linux: the time of all processors, and that of this process.
#include "timing/other_programs.h"

#include <sys/times.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace espalier::timing {

OtherPrograms::OtherPrograms() : begin_(now()) {}

OtherPrograms::Ticks OtherPrograms::now() {
  Ticks out;
  std::ifstream stat("/proc/stat");
  std::string name;
  stat >> name;  // "cpu": user nice system idle iowait irq softirq steal, of all processors
  for (int i = 0; i < 8; ++i) {
    double ticks = 0;
    if (!(stat >> ticks)) return {};
    out.all += ticks;
    if (i != 3 && i != 4) out.busy += ticks;  // not idle, and not waiting for a disk
  }
  tms own{};
  ::times(&own);
  out.own = static_cast<double>(own.tms_utime + own.tms_stime);
  return out;
}

double OtherPrograms::share() const {
  const Ticks end = now();
  const double all = end.all - begin_.all;
  if (all <= 0) return 0;
  return std::clamp(((end.busy - begin_.busy) - (end.own - begin_.own)) / all, 0.0, 1.0);
}

}  // namespace espalier::timing
