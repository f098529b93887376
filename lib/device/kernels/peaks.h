// SPDX-License-Identifier: Apache-2.0
// Measures the best speed of this machine with an ISA and a number of threads. These are the
// rooflines to which the speeds of a model are compared.
#pragma once
#include <cstdint>

#include "core/thread_pool.h"
#include "kernels/linear.h"

namespace espalier::kernels {

// Bytes per second that all threads together read from memory. Each thread streams through its
// share of 256 MiB, more than caches hold. Returns the best of several passes and takes about a
// tenth of a second. Error(unsupported) when the system has no such memory.
double read_bandwidth(const KernelTable& table, core::ThreadPool& pool);
// int8 multiply-adds per second of all threads together, with operands in the first-level cache. It
// uses the instructions of the ISA that make one exact dot product. Kernels of few-bit weights may
// exceed it where they add several products before widening.
double int8_peak(const KernelTable& table, core::ThreadPool& pool);

}  // namespace espalier::kernels
