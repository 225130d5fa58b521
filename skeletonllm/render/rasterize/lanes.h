// Sixteen floats at a time: one AVX-512 register, or several smaller ones of whatever the processor has.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

constexpr int LANES = 16;

#if defined(__AVX512F__) && defined(__AVX512DQ__)

struct Lanes {
    __m512 v;
};
struct Mask {
    __mmask16 bits;
};

static inline Lanes all(float x) { return {_mm512_set1_ps(x)}; }
static inline Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline void store(float* p, Lanes a) { _mm512_storeu_ps(p, a.v); }
// Eight floats and eight floats.
static inline Lanes load(const float* first, const float* second) {
    return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(first)), _mm256_loadu_ps(second), 1)};
}
static inline void store(float* first, float* second, Lanes a) {
    _mm256_storeu_ps(first, _mm512_castps512_ps256(a.v));
    _mm256_storeu_ps(second, _mm512_extractf32x8_ps(a.v, 1));
}
static inline Lanes operator+(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline Lanes operator-(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline Lanes operator*(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
// a b + c, and c - a b, rounded once.
static inline Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
static inline Lanes fnma(Lanes a, Lanes b, Lanes c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
// a / b to within the last bit but one.
static inline Lanes quotient(Lanes a, Lanes b) {
    const Lanes about = {_mm512_rcp14_ps(b.v)};
    return a * fma(fnma(b, about, all(1)), about, about);
}
static inline Lanes smaller(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
static inline Mask operator>(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
static inline Mask operator>=(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
static inline Mask operator&(Mask a, Mask b) { return {static_cast<__mmask16>(a.bits & b.bits)}; }
static inline bool any(Mask a) { return a.bits != 0; }
static inline Lanes select(Mask m, Lanes a, Lanes b) { return {_mm512_mask_blend_ps(m.bits, b.v, a.v)}; }
static inline Lanes where(Mask m, Lanes a) { return {_mm512_maskz_mov_ps(m.bits, a.v)}; }

// Vectors worked on at once in long chains of operations: one waits while the next goes on.
constexpr int ABREAST = 4;

// 2^x for x < 127: a polynomial for the fraction (minimax in relative error, 1.5e-7 with its rounding).
static inline void exp2(Lanes (&x)[ABREAST]) {
    constexpr float factors[] = {0x1.26900cp-7f, 0x1.c95446p-5f, 0x1.ebd5a8p-3f, 0x1.62e4f6p-1f, 0x1.fffffep-1f};
    Lanes f[ABREAST], p[ABREAST];
    for (int i = 0; i < ABREAST; i++) f[i] = {_mm512_reduce_ps(x[i].v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
    for (int i = 0; i < ABREAST; i++) p[i] = all(0x1.ec320ap-10f);
    for (const float factor : factors) {
        for (int i = 0; i < ABREAST; i++) p[i] = fma(p[i], f[i], all(factor));
    }
    for (int i = 0; i < ABREAST; i++) x[i] = {_mm512_scalef_ps(p[i].v, x[i].v)};
}

// Where `add_sums` puts the sum over the lanes of vector number `i`.
constexpr int sum_at(int i) { return i % 4 * 4 + i / 4; }

static inline Lanes fold4(const Lanes* a, int n) {
    const __m512 x = a[0].v, y = n > 1 ? a[1].v : x, z = n > 2 ? a[2].v : x, w = n > 3 ? a[3].v : x;
    const __m512 xy = n > 1 ? _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xEE))
                            : _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0x4E));
    const __m512 zw = n > 2 ? _mm512_add_ps(_mm512_shuffle_f32x4(z, w, 0x44), _mm512_shuffle_f32x4(z, w, 0xEE)) : xy;
    return {_mm512_add_ps(_mm512_shuffle_f32x4(xy, zw, 0x88), _mm512_shuffle_f32x4(xy, zw, 0xDD))};
}

// sums[sum_at(i)] += the sum over the lanes of a[i]; the other places get something.
template <int N>
static inline void add_sums(float* sums, const Lanes (&a)[N]) {
    const __m512 p = fold4(a, N).v;
    const __m512 q = N > 4 ? fold4(a + (N > 4 ? 4 : 0), N - 4).v : p;
    const __m512 r = N > 8 ? fold4(a + (N > 8 ? 8 : 0), N - 8).v : p;
    const __m512 s = N > 12 ? fold4(a + (N > 12 ? 12 : 0), N - 12).v : r;
    const __m512 pq = _mm512_add_ps(_mm512_unpacklo_ps(p, q), _mm512_unpackhi_ps(p, q));
    const __m512 rs = N > 8 ? _mm512_add_ps(_mm512_unpacklo_ps(r, s), _mm512_unpackhi_ps(r, s)) : pq;
    const __m512d lo = _mm512_unpacklo_pd(_mm512_castps_pd(pq), _mm512_castps_pd(rs));
    const __m512d hi = _mm512_unpackhi_pd(_mm512_castps_pd(pq), _mm512_castps_pd(rs));
    store(sums, load(sums) + Lanes{_mm512_add_ps(_mm512_castpd_ps(lo), _mm512_castpd_ps(hi))});
}

#else

#if defined(__AVX__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif
constexpr int PARTS = LANES / WIDTH;
typedef float Floats __attribute__((vector_size(WIDTH * 4)));
typedef int32_t Ints __attribute__((vector_size(WIDTH * 4)));

struct Lanes {
    Floats v[PARTS];
};
struct Mask {
    Ints v[PARTS];
};

#define EACH(type, value)                       \
    type result;                                \
    for (int i = 0; i < PARTS; i++) {           \
        result.v[i] = (value);                  \
    }                                           \
    return result

static inline Lanes all(float x) { EACH(Lanes, x - Floats{}); }
static inline Floats part(const float* p) {
    Floats a;
    std::memcpy(&a, p, sizeof a);
    return a;
}
static inline Lanes load(const float* p) { EACH(Lanes, part(p + i * WIDTH)); }
static inline void store(float* p, Lanes a) {
    for (int i = 0; i < PARTS; i++) std::memcpy(p + i * WIDTH, &a.v[i], sizeof(Floats));
}
// Eight floats and eight floats.
static inline Lanes load(const float* first, const float* second) {
    EACH(Lanes, part((i < PARTS / 2 ? first : second) + i % (PARTS / 2) * WIDTH));
}
static inline void store(float* first, float* second, Lanes a) {
    for (int i = 0; i < PARTS; i++) {
        std::memcpy((i < PARTS / 2 ? first : second) + i % (PARTS / 2) * WIDTH, &a.v[i], sizeof(Floats));
    }
}
static inline Lanes operator+(Lanes a, Lanes b) { EACH(Lanes, a.v[i] + b.v[i]); }
static inline Lanes operator-(Lanes a, Lanes b) { EACH(Lanes, a.v[i] - b.v[i]); }
static inline Lanes operator*(Lanes a, Lanes b) { EACH(Lanes, a.v[i] * b.v[i]); }
static inline Lanes quotient(Lanes a, Lanes b) { EACH(Lanes, a.v[i] / b.v[i]); }
// a b + c, and c - a b, rounded once where the processor can.
#if defined(__FMA__)
static inline Lanes fma(Lanes a, Lanes b, Lanes c) { EACH(Lanes, _mm256_fmadd_ps(a.v[i], b.v[i], c.v[i])); }
static inline Lanes fnma(Lanes a, Lanes b, Lanes c) { EACH(Lanes, _mm256_fnmadd_ps(a.v[i], b.v[i], c.v[i])); }
#elif defined(__ARM_FEATURE_FMA) && defined(__aarch64__)
static inline Lanes fma(Lanes a, Lanes b, Lanes c) {
    EACH(Lanes, (Floats)vfmaq_f32((float32x4_t)c.v[i], (float32x4_t)a.v[i], (float32x4_t)b.v[i]));
}
static inline Lanes fnma(Lanes a, Lanes b, Lanes c) {
    EACH(Lanes, (Floats)vfmsq_f32((float32x4_t)c.v[i], (float32x4_t)a.v[i], (float32x4_t)b.v[i]));
}
#else
static inline Lanes fma(Lanes a, Lanes b, Lanes c) { return a * b + c; }
static inline Lanes fnma(Lanes a, Lanes b, Lanes c) { return c - a * b; }
#endif
static inline Mask operator>(Lanes a, Lanes b) { EACH(Mask, a.v[i] > b.v[i]); }
static inline Mask operator>=(Lanes a, Lanes b) { EACH(Mask, a.v[i] >= b.v[i]); }
static inline Mask operator&(Mask a, Mask b) { EACH(Mask, a.v[i] & b.v[i]); }
static inline Lanes where(Mask m, Lanes a) { EACH(Lanes, (Floats)(m.v[i] & (Ints)a.v[i])); }
#if defined(__AVX__)
static inline Lanes select(Mask m, Lanes a, Lanes b) { EACH(Lanes, _mm256_blendv_ps(b.v[i], a.v[i], (__m256)m.v[i])); }
static inline Lanes smaller(Lanes a, Lanes b) { EACH(Lanes, _mm256_min_ps(a.v[i], b.v[i])); }
static inline Lanes larger(Lanes a, Lanes b) { EACH(Lanes, _mm256_max_ps(a.v[i], b.v[i])); }
#else
static inline Lanes select(Mask m, Lanes a, Lanes b) {
    EACH(Lanes, (Floats)((m.v[i] & (Ints)a.v[i]) | (~m.v[i] & (Ints)b.v[i])));
}
static inline Lanes smaller(Lanes a, Lanes b) { return select(b > a, a, b); }
static inline Lanes larger(Lanes a, Lanes b) { return select(a > b, a, b); }
#endif
static inline bool any(Mask a) {
    int32_t found = 0;
    for (int i = 0; i < PARTS; i++) {
#if defined(__AVX__)
        found |= _mm256_movemask_ps((__m256)a.v[i]);
#else
        for (int lane = 0; lane < WIDTH; lane++) found |= a.v[i][lane];
#endif
    }
    return found != 0;
}

// Vectors worked on at once in long chains of operations: one waits while the next goes on.
constexpr int ABREAST = 2;

static inline Lanes shifted_up(Lanes p, Lanes whole) { EACH(Lanes, (Floats)((Ints)p.v[i] + ((Ints)whole.v[i] << 23))); }

// 2^x for x < 127: a polynomial for the fraction (minimax in relative error, 2.1e-7 with its rounding).
static inline void exp2(Lanes (&x)[ABREAST]) {
    constexpr float factors[] = {0x1.3d0c52p-7f, 0x1.c6b6e4p-5f, 0x1.ebf918p-3f, 0x1.62e428p-1f, 0x1.000002p+0f};
    // Added to a small number it leaves the nearest whole one in the last bits.
    const Lanes round = all(0x1.8p23f);
    Lanes whole[ABREAST], f[ABREAST], p[ABREAST];
    for (int i = 0; i < ABREAST; i++) x[i] = larger(x[i], all(-100));
    for (int i = 0; i < ABREAST; i++) whole[i] = x[i] + round;
    for (int i = 0; i < ABREAST; i++) f[i] = x[i] - (whole[i] - round);
    for (int i = 0; i < ABREAST; i++) p[i] = all(0x1.5c08e6p-10f);
    for (const float factor : factors) {
        for (int i = 0; i < ABREAST; i++) p[i] = fma(p[i], f[i], all(factor));
    }
    for (int i = 0; i < ABREAST; i++) x[i] = shifted_up(p[i], whole[i]);
}

// Where `add_sums` puts the sum over the lanes of vector number `i`.
constexpr int sum_at(int i) { return i; }

#if defined(__AVX__)
static inline __m128 fold4(const Lanes* a, int n) {
    __m256 part[4];
    for (int i = 0; i < 4; i++) part[i] = (__m256)(i < n ? a[i].v[0] + a[i].v[1] : Floats{});
    const __m256 xy = _mm256_hadd_ps(part[0], part[1]), zw = _mm256_hadd_ps(part[2], part[3]);
    const __m256 sum = _mm256_hadd_ps(xy, zw);
    return _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
}
// sums[sum_at(i)] += the sum over the lanes of a[i].
template <int N>
static inline void add_sums(float* sums, const Lanes (&a)[N]) {
    for (int i = 0; i < N; i += 4) {
        _mm_storeu_ps(sums + i, _mm_add_ps(_mm_loadu_ps(sums + i), fold4(a + i, N - i)));
    }
}
#else
// sums[sum_at(i)] += the sum over the lanes of a[i].
template <int N>
static inline void add_sums(float* sums, const Lanes (&a)[N]) {
    for (int i = 0; i < N; i++) {
        const Floats half = (a[i].v[0] + a[i].v[1]) + (a[i].v[2] + a[i].v[3]);
        sums[i] += (half[0] + half[1]) + (half[2] + half[3]);
    }
}
#endif
#undef EACH
#endif
