// SPDX-License-Identifier: Apache-2.0
// Puts the kernels of this ISA into the table. Included inside an unnamed namespace after all other
// -inl.h files.
void fill_table(KernelTable& table) {
  fill_float<FloatF32>(table.linear[k_f32]);
  fill_float<FloatF16>(table.linear[k_f16]);
  fill_float<FloatBf16>(table.linear[k_bf16]);
  each_quantized(table, []<typename Format>(LinearKernel& kernel) {
    kernel = {
        .interleave = V::kLanes,
        .form = Format::Shape::kSuper ? ActivationForm::q8_per_256 : ActivationForm::q8_per_32,
        .matvec = matvec<Format>,
        .matmul = matmul<Format>};
  });
  table.quantize_per_32 = quantize_per_32;
  table.quantize_per_256 = quantize_per_256;
  table.steps = {.rms_norm = rms_norm,
                 .layer_norm = layer_norm,
                 .rope_interleaved = rope_interleaved,
                 .rope_half_split = rope_half_split,
                 .silu_mul = silu_mul,
                 .gelu_mul = gelu_mul,
                 .gelu = gelu,
                 .relu_squared = relu_squared,
                 .soft_cap = soft_cap,
                 .add = add,
                 .kv = {{store_kv_f32, attention<KvFloat<FloatF32>>},
                        {store_kv_f16, attention<KvFloat<FloatF16>>},
                        {store_kv_q8_0, attention<KvQ8_0>},
                        {store_kv_q4_0, attention<KvQ4_0>}}};
  table.multiply_int8 = multiply_int8;
  table.read_bytes = read_bytes;
}
