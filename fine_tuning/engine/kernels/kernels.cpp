// The engine's CPU kernels: a plain C interface, one copy of the code per instruction set.
//
// Everything here works on raw pointers of contiguous arrays; shapes are checked by the caller
// (kernels/__init__.py). The best instruction set of the machine is chosen at load time; a lower
// one can be asked for, so that each is testable. Threads come from the process's one OpenMP
// runtime, the one torch brought.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

struct bf16 {
    uint16_t bits;
};

static const int8_t IQ4_VALUES[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

static inline float half_to_float(uint16_t h) {
    // Branch-free for normal numbers; ggml_compute_fp16_to_fp32 does the same.
    const uint32_t w = (uint32_t)h << 16, sign = w & 0x80000000u, two_w = w + w;
    uint32_t bits = (two_w >> 4) + (0xE0u << 23);
    float normal, subnormal;
    std::memcpy(&normal, &bits, 4);
    normal *= 0x1.0p-112f;
    bits = (two_w >> 17) | (126u << 23);
    std::memcpy(&subnormal, &bits, 4);
    subnormal -= 0.5f;
    uint32_t out;
    std::memcpy(&out, two_w < (1u << 27) ? &subnormal : &normal, 4);
    out |= sign;
    float result;
    std::memcpy(&result, &out, 4);
    return result;
}

static inline uint16_t bf16_bits(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

#define SHARED_HELPERS                                                            \
    static inline void store(float* y, const float* x, int64_t n) {               \
        std::memcpy(y, x, n * sizeof(float));                                     \
    }                                                                             \
    static inline void store(bf16* y, const float* x, int64_t n) {                \
        for (int64_t i = 0; i < n; ++i) y[i].bits = bf16_bits(x[i]);              \
    }                                                                             \
    static inline void load(float* y, const float* x, int64_t n) {                \
        std::memcpy(y, x, n * sizeof(float));                                     \
    }                                                                             \
    static inline void load(float* y, const bf16* x, int64_t n) {                 \
        for (int64_t i = 0; i < n; ++i) {                                         \
            const uint32_t u = (uint32_t)x[i].bits << 16;                         \
            std::memcpy(y + i, &u, 4);                                            \
        }                                                                         \
    }

namespace portable {
SHARED_HELPERS
#include "elementwise.inc"
#include "attention.inc"
#include "unpack.inc"
}  // namespace portable

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HAS_X86_LEVELS 1
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
namespace avx2 {
SHARED_HELPERS
#include "elementwise.inc"
#include "attention.inc"
#include "unpack.inc"
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push( \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
    apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
namespace avx512 {
SHARED_HELPERS
#include "elementwise.inc"
#include "attention.inc"
#include "unpack.inc"
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

static int level = 0;  // 0 portable, 1 AVX2, 2 AVX-512

#if HAS_X86_LEVELS
#define CALL(NAME, ...)                              \
    (level == 2   ? avx512::NAME(__VA_ARGS__)        \
     : level == 1 ? avx2::NAME(__VA_ARGS__)          \
                  : portable::NAME(__VA_ARGS__))
#define CALL_GATE(NAME, GATE_, ...)                             \
    (level == 2   ? avx512::NAME<avx512::GATE_>(__VA_ARGS__)    \
     : level == 1 ? avx2::NAME<avx2::GATE_>(__VA_ARGS__)        \
                  : portable::NAME<portable::GATE_>(__VA_ARGS__))
#else
#define CALL(NAME, ...) portable::NAME(__VA_ARGS__)
#define CALL_GATE(NAME, GATE_, ...) portable::NAME<portable::GATE_>(__VA_ARGS__)
#endif
// Every kernel exists for float and bf16; is_bf16 says which one the pointers mean.
#define CALL2(IS_BF16, F32_CALL, BF16_CALL) \
    if (IS_BF16) {                          \
        BF16_CALL;                          \
    } else {                                \
        F32_CALL;                           \
    }

extern "C" {

// Best level this processor has, at most `wanted`; sets it and returns it.
int ft_select_level(int wanted) {
    int best = 0;
#if HAS_X86_LEVELS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = 1;
    if (best == 1 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        best = 2;
#endif
    level = wanted < best ? wanted : best;
    return level;
}

// 0 on success, 1 for a type without an unpacker. `elements` must be whole blocks.
int ft_unpack(int type, const uint8_t* source, void* target, int64_t elements, int is_bf16) {
    if (is_bf16) return CALL(unpack, type, source, (bf16*)target, elements);
    return CALL(unpack, type, source, (float*)target, elements);
}

void ft_rmsnorm(const float* x, const float* weight, float eps, void* y, float* rstd, int64_t rows,
                int64_t width, int is_bf16) {
    CALL2(is_bf16, CALL(rmsnorm, x, weight, eps, (float*)y, rstd, rows, width),
          CALL(rmsnorm, x, weight, eps, (bf16*)y, rstd, rows, width))
}

void ft_rmsnorm_backward(const void* g, const float* x, const float* weight, const float* rstd,
                         float* dx, int64_t rows, int64_t width, int is_bf16) {
    CALL2(is_bf16, CALL(rmsnorm_backward, (const float*)g, x, weight, rstd, dx, rows, width),
          CALL(rmsnorm_backward, (const bf16*)g, x, weight, rstd, dx, rows, width))
}

#define GATE(NAME, GATE_)                                                                        \
    void ft_##NAME(const void* gate_up, void* h, int64_t rows, int64_t width, int is_bf16) {     \
        CALL2(is_bf16, CALL_GATE(gated, GATE_, (const float*)gate_up, (float*)h, rows, width),   \
              CALL_GATE(gated, GATE_, (const bf16*)gate_up, (bf16*)h, rows, width))              \
    }                                                                                            \
    void ft_##NAME##_backward(const void* gate_up, const void* dh, void* h, void* d_gate_up,     \
                              int64_t rows, int64_t width, int is_bf16) {                        \
        CALL2(is_bf16,                                                                           \
              CALL_GATE(gated_backward, GATE_, (const float*)gate_up, (const float*)dh,          \
                        (float*)h, (float*)d_gate_up, rows, width),                              \
              CALL_GATE(gated_backward, GATE_, (const bf16*)gate_up, (const bf16*)dh, (bf16*)h,  \
                        (bf16*)d_gate_up, rows, width))                                          \
    }
GATE(swiglu, Silu)
GATE(geglu, Gelu)
#undef GATE

void ft_norm_heads(const void* x, const float* weight, float eps, void* y, float* rstd,
                   int64_t rows, int64_t width, int64_t heads, int64_t d, int is_bf16) {
    CALL2(is_bf16,
          CALL(norm_heads, (const float*)x, weight, eps, (float*)y, rstd, rows, width, heads, d),
          CALL(norm_heads, (const bf16*)x, weight, eps, (bf16*)y, rstd, rows, width, heads, d))
}

void ft_norm_heads_backward(void* g, const void* x, const float* weight, const float* rstd,
                            int64_t rows, int64_t width, int64_t heads, int64_t d, int is_bf16) {
    CALL2(is_bf16,
          CALL(norm_heads_backward, (float*)g, (const float*)x, weight, rstd, rows, width, heads, d),
          CALL(norm_heads_backward, (bf16*)g, (const bf16*)x, weight, rstd, rows, width, heads, d))
}

// shape: n_q, n_kv, d, n_rot, is_neox, B, Sq, Sk
void ft_rotate_heads(void* x, const int64_t* positions, const float* cosine, const float* sine,
                     float direction, int64_t rows, const int64_t* shape, int is_bf16) {
    const int64_t heads = shape[0] + shape[1], width = (heads + shape[1]) * shape[2];
    CALL2(is_bf16,
          CALL(rotate_heads, (float*)x, positions, cosine, sine, direction, rows, width, heads,
               shape[2], shape[3], shape[4]),
          CALL(rotate_heads, (bf16*)x, positions, cosine, sine, direction, rows, width, heads,
               shape[2], shape[3], shape[4]))
}

void ft_split_heads(const void* qkv, void* q, void* k, void* v, const int64_t* query_rows,
                    const int64_t* key_rows, const int64_t* shape, int is_bf16) {
    CALL2(is_bf16,
          CALL(split_heads, (const float*)qkv, (float*)q, (float*)k, (float*)v, query_rows,
               key_rows, shape[5], shape[6], shape[7], shape[0], shape[1], shape[2]),
          CALL(split_heads, (const bf16*)qkv, (bf16*)q, (bf16*)k, (bf16*)v, query_rows, key_rows,
               shape[5], shape[6], shape[7], shape[0], shape[1], shape[2]))
}

void ft_merge_heads(const void* dq, const void* dk, const void* dv, void* dqkv, float* sums,
                    const int64_t* query_rows, const int64_t* key_rows, const int64_t* shape,
                    int is_bf16) {
    CALL2(is_bf16,
          CALL(merge_heads, (const float*)dq, (const float*)dk, (const float*)dv, (float*)dqkv,
               sums, query_rows, key_rows, shape[5], shape[6], shape[7], shape[0], shape[1],
               shape[2]),
          CALL(merge_heads, (const bf16*)dq, (const bf16*)dk, (const bf16*)dv, (bf16*)dqkv, sums,
               query_rows, key_rows, shape[5], shape[6], shape[7], shape[0], shape[1], shape[2]))
}

void ft_fold_heads(void* padded, void* flat, const int64_t* out_rows, const int64_t* shape,
                   int to_flat, int is_bf16) {
    CALL2(is_bf16,
          CALL(fold_heads, (float*)padded, (float*)flat, out_rows, shape[5], shape[6], shape[0],
               shape[1], shape[2], to_flat),
          CALL(fold_heads, (bf16*)padded, (bf16*)flat, out_rows, shape[5], shape[6], shape[0],
               shape[1], shape[2], to_flat))
}

void ft_causal_softmax(const void* scores, void* probabilities, const int64_t* seen, float scale,
                       int64_t rows, int64_t batch, int64_t queries, int64_t keys, int64_t window,
                       int is_bf16) {
    CALL2(is_bf16,
          CALL(causal_softmax, (const float*)scores, (float*)probabilities, seen, scale, rows,
               batch, queries, keys, window),
          CALL(causal_softmax, (const bf16*)scores, (bf16*)probabilities, seen, scale, rows, batch,
               queries, keys, window))
}

void ft_softmax_backward(const void* probabilities, void* gradient, const int64_t* seen,
                         float scale, int64_t rows, int64_t batch, int64_t queries, int64_t keys,
                         int is_bf16) {
    CALL2(is_bf16,
          CALL(softmax_backward, (const float*)probabilities, (float*)gradient, seen, scale, rows,
               batch, queries, keys),
          CALL(softmax_backward, (const bf16*)probabilities, (bf16*)gradient, seen, scale, rows,
               batch, queries, keys))
}

void ft_soft_cap(void* x, float factor, float cap, int64_t elements, int is_bf16) {
    CALL2(is_bf16, CALL(soft_cap, (float*)x, factor, cap, elements),
          CALL(soft_cap, (bf16*)x, factor, cap, elements))
}

void ft_soft_cap_backward(const void* capped, void* gradient, float inverse_cap, int64_t elements,
                          int is_bf16) {
    CALL2(is_bf16,
          CALL(soft_cap_backward, (const float*)capped, (float*)gradient, inverse_cap, elements),
          CALL(soft_cap_backward, (const bf16*)capped, (bf16*)gradient, inverse_cap, elements))
}

void ft_cross_entropy(void* logits, const int64_t* target, float* log_probability, uint8_t* is_top,
                      const float* weight, int with_gradient, int64_t rows, int64_t width,
                      int is_bf16) {
    CALL2(is_bf16,
          CALL(cross_entropy, (float*)logits, target, log_probability, is_top, weight,
               with_gradient, rows, width),
          CALL(cross_entropy, (bf16*)logits, target, log_probability, is_top, weight,
               with_gradient, rows, width))
}

void ft_soft_cross_entropy(void* logits, const int64_t* tokens, const float* probability,
                           const float* weight, float* result, int with_gradient, int64_t rows,
                           int64_t width, int64_t count, int is_bf16) {
    CALL2(is_bf16,
          CALL(soft_cross_entropy, (float*)logits, tokens, probability, weight, result,
               with_gradient, rows, width, count),
          CALL(soft_cross_entropy, (bf16*)logits, tokens, probability, weight, result,
               with_gradient, rows, width, count))
}

void ft_add(float* x, const void* y, int64_t elements, int is_bf16) {
    CALL2(is_bf16, CALL(add, x, (const float*)y, elements), CALL(add, x, (const bf16*)y, elements))
}
}
