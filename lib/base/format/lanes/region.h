// SPDX-License-Identifier: Apache-2.0
// Whether a part of a file may be compiled for AVX2, between pragmas. Where not, the baseline
// serves.
#pragma once
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ESP_HAS_AVX2_REGION
#endif
