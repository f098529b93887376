// Puts this ISA's kernels into the table. Included inside an unnamed namespace after all the others.
void fill_table(KernelTable& table) {
  fill_float<FloatF32>(table.linear[k_f32]);
  fill_float<FloatF16>(table.linear[k_f16]);
  fill_float<FloatBf16>(table.linear[k_bf16]);
  fill_quantized<Q8_0>(table.linear[k_q8_0]);
  fill_quantized<Q2_0>(table.linear[k_q2_0]);
  fill_quantized<Q4_0>(table.linear[k_q4_0]);
  fill_quantized<Q4_1>(table.linear[k_q4_1]);
  fill_quantized<Q5_0>(table.linear[k_q5_0]);
  fill_quantized<Q5_1>(table.linear[k_q5_1]);
  fill_quantized<Q2_K>(table.linear[k_q2_k]);
  fill_quantized<Q3_K>(table.linear[k_q3_k]);
  fill_quantized<Q4_K>(table.linear[k_q4_k]);
  fill_quantized<Q5_K>(table.linear[k_q5_k]);
  fill_quantized<Q6_K>(table.linear[k_q6_k]);
  fill_quantized<IQ4_NL>(table.linear[k_iq4_nl]);
  fill_quantized<IQ4_XS>(table.linear[k_iq4_xs]);
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
