// SPDX-License-Identifier: Apache-2.0
// What this machine does at best with an ISA and a number of threads, measured: the rooflines that
// speeds of a model are compared with.
#pragma once
#include <cstdint>

#include "core/thread_pool.h"
#include "kernels/linear.h"

namespace espalier::kernels {

// Bytes a second that all threads together read from memory, each streaming through its own share
// of 256 MiB, more than caches hold. The best of some passes; takes about a tenth of a second.
// Error(unsupported) when the system has no such memory.
double read_bandwidth(const KernelTable& table, core::ThreadPool& pool);
// int8 multiply-adds a second of all threads together, operands in the first-level cache, by the
// instructions of the ISA that make one exact dot product. Kernels of few-bit weights may exceed it
// where they add up several products before widening.
double int8_peak(const KernelTable& table, core::ThreadPool& pool);

}  // namespace espalier::kernels
