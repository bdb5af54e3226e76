/* The Haar transform over many levels, one pass over memory a level: the compiled twin of the slicing in _transform.py.
 *
 * A butterfly on 2^d siblings takes sums and differences along the last axis first, its inverse along the first axis
 * first, and both scale at the end: the same operations in the same order as _transform.py, so both give the same bits.
 * bands[l * 2^d + b] is band b of level l; bit k of b says that axis k was differenced. The array is seen as `count`
 * rows of h x w cells (d = 1: h = w = 1; d = 2: h = 1), and worked in chunks of rows small enough to stay in cache
 * while all levels pass over them; `chunk` is a multiple of 2^levels.
 * Built as a plain shared library, called through ctypes: it knows nothing of Python, and nothing of threads but an
 * atomic counter. `work_float` and `work_double` have the signature of an OpenMP parallel region, for torch's own team.
 */
#include <stddef.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__)
#define FOR_EACH_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_CPU
#endif
/* What a call works on; _kernel.py fills it. Threads take the next chunk until none is left. */
struct transform {
    int forward, d, levels;
    ptrdiff_t chunks, chunk, h, w, next;
    void *x;
    void *const *bands;
    double first, rest;
};

#define INLINE static inline __attribute__((always_inline))

#define DEFINE(T, NAME)                                                                                                    \
    INLINE void split1_##NAME(const T *restrict x, T *restrict a, T *restrict b, ptrdiff_t m, T c) {                       \
        for (ptrdiff_t k = 0; k < m; k++) {                                                                                \
            T p = x[2 * k], q = x[2 * k + 1];                                                                              \
            a[k] = (p + q) * c;                                                                                            \
            b[k] = (p - q) * c;                                                                                            \
        }                                                                                                                  \
    }                                                                                                                      \
    INLINE void merge1_##NAME(T *restrict x, const T *restrict a, const T *restrict b, ptrdiff_t m, T c) {                 \
        for (ptrdiff_t k = 0; k < m; k++) {                                                                                \
            T p = a[k], q = b[k];                                                                                          \
            x[2 * k] = (p + q) * c;                                                                                        \
            x[2 * k + 1] = (p - q) * c;                                                                                    \
        }                                                                                                                  \
    }                                                                                                                      \
    INLINE void split2_##NAME(const T *restrict x, const T *restrict y, T *restrict aa, T *restrict da, T *restrict ad,    \
                              T *restrict dd, ptrdiff_t m, T c) {                                                          \
        for (ptrdiff_t k = 0; k < m; k++) {                                                                                \
            T sx = x[2 * k] + x[2 * k + 1], sy = y[2 * k] + y[2 * k + 1];                                                  \
            T dx = x[2 * k] - x[2 * k + 1], dy = y[2 * k] - y[2 * k + 1];                                                  \
            aa[k] = (sx + sy) * c;                                                                                         \
            da[k] = (sx - sy) * c;                                                                                         \
            ad[k] = (dx + dy) * c;                                                                                         \
            dd[k] = (dx - dy) * c;                                                                                         \
        }                                                                                                                  \
    }                                                                                                                      \
    INLINE void merge2_##NAME(T *restrict x, T *restrict y, const T *restrict aa, const T *restrict da,                    \
                              const T *restrict ad, const T *restrict dd, ptrdiff_t m, T c) {                              \
        for (ptrdiff_t k = 0; k < m; k++) {                                                                                \
            T s0 = aa[k] + da[k], d0 = aa[k] - da[k], s1 = ad[k] + dd[k], d1 = ad[k] - dd[k];                              \
            x[2 * k] = (s0 + s1) * c;                                                                                      \
            x[2 * k + 1] = (s0 - s1) * c;                                                                                  \
            y[2 * k] = (d0 + d1) * c;                                                                                      \
            y[2 * k + 1] = (d0 - d1) * c;                                                                                  \
        }                                                                                                                  \
    }                                                                                                                      \
    INLINE void split3_##NAME(const T *restrict x, const T *restrict y, const T *restrict u, const T *restrict v,          \
                              T *const *restrict band, ptrdiff_t o, ptrdiff_t m, T c) {                                    \
        T *restrict b0 = band[0] + o, *restrict b1 = band[1] + o, *restrict b2 = band[2] + o, *restrict b3 = band[3] + o;  \
        T *restrict b4 = band[4] + o, *restrict b5 = band[5] + o, *restrict b6 = band[6] + o, *restrict b7 = band[7] + o;  \
        for (ptrdiff_t k = 0; k < m; k++) {                                                                                \
            ptrdiff_t i = 2 * k, j = i + 1;                                                                                \
            T sx = x[i] + x[j], sy = y[i] + y[j], su = u[i] + u[j], sv = v[i] + v[j];                                      \
            T dx = x[i] - x[j], dy = y[i] - y[j], du = u[i] - u[j], dv = v[i] - v[j];                                      \
            b0[k] = ((sx + sy) + (su + sv)) * c;                                                                           \
            b1[k] = ((sx + sy) - (su + sv)) * c;                                                                           \
            b2[k] = ((sx - sy) + (su - sv)) * c;                                                                           \
            b3[k] = ((sx - sy) - (su - sv)) * c;                                                                           \
            b4[k] = ((dx + dy) + (du + dv)) * c;                                                                           \
            b5[k] = ((dx + dy) - (du + dv)) * c;                                                                           \
            b6[k] = ((dx - dy) + (du - dv)) * c;                                                                           \
            b7[k] = ((dx - dy) - (du - dv)) * c;                                                                           \
        }                                                                                                                  \
    }                                                                                                                      \
    INLINE void merge3_##NAME(T *restrict x, T *restrict y, T *restrict u, T *restrict v, T *const *restrict band,         \
                              ptrdiff_t o, ptrdiff_t m, T c) {                                                             \
        const T *restrict b0 = band[0] + o, *restrict b1 = band[1] + o, *restrict b2 = band[2] + o;                        \
        const T *restrict b3 = band[3] + o, *restrict b4 = band[4] + o, *restrict b5 = band[5] + o;                        \
        const T *restrict b6 = band[6] + o, *restrict b7 = band[7] + o;                                                    \
        for (ptrdiff_t k = 0; k < m; k++) {                                                                                \
            ptrdiff_t i = 2 * k, j = i + 1;                                                                                \
            T x0 = b0[k] + b1[k], u0 = b0[k] - b1[k], x1 = b4[k] + b5[k], u1 = b4[k] - b5[k];                              \
            T y0 = b2[k] + b3[k], v0 = b2[k] - b3[k], y1 = b6[k] + b7[k], v1 = b6[k] - b7[k];                              \
            x[i] = ((x0 + y0) + (x1 + y1)) * c;                                                                            \
            x[j] = ((x0 + y0) - (x1 + y1)) * c;                                                                            \
            y[i] = ((x0 - y0) + (x1 - y1)) * c;                                                                            \
            y[j] = ((x0 - y0) - (x1 - y1)) * c;                                                                            \
            u[i] = ((u0 + v0) + (u1 + v1)) * c;                                                                            \
            u[j] = ((u0 + v0) - (u1 + v1)) * c;                                                                            \
            v[i] = ((u0 - v0) + (u1 - v1)) * c;                                                                            \
            v[j] = ((u0 - v0) - (u1 - v1)) * c;                                                                            \
        }                                                                                                                  \
    }                                                                                                                      \
    /* One level over rows start..start+count of x, whose rows are h x w. forward: x to bands; else bands to x. */         \
    INLINE void level_##NAME(int forward, int d, ptrdiff_t start, ptrdiff_t count, ptrdiff_t h, ptrdiff_t w, T *x,         \
                             T *const *band, T c) {                                                                        \
        if (d == 1) {                                                                                                      \
            ptrdiff_t o = start / 2;                                                                                       \
            if (forward)                                                                                                   \
                split1_##NAME(x + start, band[0] + o, band[1] + o, count / 2, c);                                          \
            else                                                                                                           \
                merge1_##NAME(x + start, band[0] + o, band[1] + o, count / 2, c);                                          \
            return;                                                                                                        \
        }                                                                                                                  \
        ptrdiff_t m = w / 2;                                                                                               \
        for (ptrdiff_t r = start / 2; r < (start + count) / 2; r++) {                                                      \
            if (d == 2) {                                                                                                  \
                T *p = x + 2 * r * w;                                                                                      \
                ptrdiff_t o = r * m;                                                                                       \
                if (forward)                                                                                               \
                    split2_##NAME(p, p + w, band[0] + o, band[1] + o, band[2] + o, band[3] + o, m, c);                     \
                else                                                                                                       \
                    merge2_##NAME(p, p + w, band[0] + o, band[1] + o, band[2] + o, band[3] + o, m, c);                     \
            } else                                                                                                         \
                for (ptrdiff_t s = 0; s < h / 2; s++) {                                                                    \
                    T *p = x + (2 * r * h + 2 * s) * w, *q = p + h * w;                                                    \
                    ptrdiff_t o = (r * (h / 2) + s) * m;                                                                   \
                    if (forward)                                                                                           \
                        split3_##NAME(p, p + w, q, q + w, band, o, m, c);                                                  \
                    else                                                                                                   \
                        merge3_##NAME(p, p + w, q, q + w, band, o, m, c);                                                  \
                }                                                                                                          \
        }                                                                                                                  \
    }                                                                                                                      \
    FOR_EACH_CPU static void chunk_##NAME(const struct transform *t, ptrdiff_t at) {                                              \
        T *const *bands = (T *const *)t->bands;                                                                            \
        for (int i = 0; i < t->levels; i++) {                                                                              \
            int l = t->forward ? i : t->levels - 1 - i;                                                                    \
            level_##NAME(t->forward, t->d, at >> l, t->chunk >> l, t->h >> l, t->w >> l, l ? bands[(l - 1) << t->d] : t->x, \
                         bands + (l << t->d), (T)(l ? t->rest : t->first));                                                \
        }                                                                                                                  \
    }                                                                                                                      \
    void work_##NAME(void *transform) {                                                                                    \
        struct transform *t = transform;                                                                                   \
        for (ptrdiff_t k; (k = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) < t->chunks;)                            \
            chunk_##NAME(t, k * t->chunk);                                                                                 \
    }

DEFINE(float, float)
DEFINE(double, double)
