/* Draws on the host in one pass over the result, with the bits of `_words.py`, `_conversion.py` and `_sparse.py`.

   No memory but a block on the stack. To be compiled without fused products and without fast mathematics. */

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "intermediate results would be rounded to another precision"
#endif

#ifdef _WIN32
#define PUBLIC __declspec(dllexport)
#else
#define PUBLIC __attribute__((visibility("default")))
#endif

/* The digest of this file, which the build defines: see `_compiled_kernel.py`. */
PUBLIC uint64_t initx_source(void) { return INITX_SOURCE; }

/* The processor that runs this may have wider vectors than the one it is compiled for. */
#if defined(__x86_64__) && defined(__gnu_linux__) && __GNUC__ >= 12 && !defined(__clang__)
#define WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDE
#endif

#define SIZE 512 /* elements of a block */

static inline uint32_t rotated(uint32_t x, int count) { return (x << count) | (x >> (32 - count)); }

#define ROUND(count) (x0 += x1, x1 = rotated(x1, count) ^ x0)
#define ROUNDS(a, b, c, d) (ROUND(a), ROUND(b), ROUND(c), ROUND(d))
#define INJECT(a, b, group) (x0 += a, x1 += b + group)

/* `threefry2x32` of consecutive counters: even and odd words in turn. */
static inline void make_words(uint32_t *words, uint32_t key0, uint32_t key1, uint32_t draw, uint32_t first) {
    uint32_t key2 = key0 ^ key1 ^ 0x1BD11BDA;
    for (uint32_t i = 0; i < SIZE / 2; i++) {
        uint32_t x0 = first + i + key0, x1 = draw + key1;
        ROUNDS(13, 15, 26, 6), INJECT(key1, key2, 1);
        ROUNDS(17, 29, 16, 24), INJECT(key2, key0, 2);
        ROUNDS(13, 15, 26, 6), INJECT(key0, key1, 3);
        ROUNDS(17, 29, 16, 24), INJECT(key1, key2, 4);
        ROUNDS(13, 15, 26, 6), INJECT(key2, key0, 5);
        words[2 * i] = x0;
        words[2 * i + 1] = x1;
    }
}

static inline int32_t interpolated(const uint32_t *knots, uint32_t word) {
    uint32_t low = knots[word >> 16], width = knots[(word >> 16) + 1] - low;
    return (int32_t)(low + ((width * (((word >> 8) & 0xFE) | 1)) >> 8));
}

/* The kinds of draws and the dtypes, in the order of `KINDS` and `DTYPES`. */
enum { WORDS, UNIFORM, NORMAL, INTERPOLATED };
enum { FLOAT16, BFLOAT16, FLOAT32, FLOAT64, WORD };
static const int BYTES[] = {2, 2, 4, 8, 4};

#define FINISHED(real, draw)                                     \
    for (int i = 0; i < SIZE; i++) {                             \
        uint32_t word = words[i];                                \
        real x = draw;                                           \
        x = ((x == 0 ? numbers[0] : x) + numbers[1]) * numbers[2]; \
        x = x < numbers[3] ? numbers[3] : x;                     \
        values[i] = x > numbers[4] ? numbers[4] : x;             \
    }

/* `as_uniform`, `as_normal` and `as_interpolated`, then `finish`. */
#define DEFINE_VALUES(real, name)                                                                                  \
    static inline void name(real *values, const uint32_t *words, int kind, const void *data, const real *given) { \
        const real *table = data, numbers[] = {given[0], given[1], given[2], given[3], given[4]};                  \
        if (kind == UNIFORM)                                                                                       \
            FINISHED(real, ((real)(int32_t)(word >> 9) + (real)0.5) * (real)1.1920928955078125e-7)                 \
        else if (kind == NORMAL)                                                                                   \
            FINISHED(real, table[word >> 16] + table[word & 0xFFFF])                                               \
        else                                                                                                       \
            FINISHED(real, (real)interpolated(data, word))                                                         \
    }
DEFINE_VALUES(float, values32)
DEFINE_VALUES(double, values64)

static inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

/* Both round to the nearest number, and to the even one of two. */
static inline uint16_t to_bfloat16(float x) {
    uint32_t bits = bits_of(x);
    return (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

static inline uint16_t to_float16(float x) {
    uint32_t sign = (bits_of(x) >> 16) & 0x8000, size = bits_of(x) & 0x7FFFFFFF;
    uint32_t normal = (size - 0x38000000 + 0xFFF + ((size >> 13) & 1)) >> 13;
    /* The sum with one half ends where a subnormal number of float16 ends. */
    uint32_t subnormal = bits_of((x < 0 ? -x : x) + 0.5f) - 0x3F000000;
    return (uint16_t)(sign | (size >= 0x477FF000 ? 0x7C00 : size < 0x38800000 ? subnormal : normal));
}

/* `fill`: elements `begin` to `end` of a draw. */
WIDE PUBLIC void initx_fill(void *out, int kind, int dtype, uint32_t key0, uint32_t key1, uint32_t draw,
                            uint64_t begin, uint64_t end, const void *table, const void *numbers) {
    uint32_t words[SIZE];
    float values[SIZE];
    double doubles[SIZE];
    uint16_t halves[SIZE];
    const void *sources[] = {halves, halves, values, doubles, words};
    int bytes = BYTES[dtype];
    for (uint64_t block = begin & ~(uint64_t)1; block < end; block += SIZE) {
        make_words(words, key0, key1, draw, (uint32_t)(block >> 1));
        if (dtype == FLOAT64) values64(doubles, words, kind, table, numbers);
        else if (dtype != WORD) values32(values, words, kind, table, numbers);
        if (dtype == FLOAT16) for (int i = 0; i < SIZE; i++) halves[i] = to_float16(values[i]);
        if (dtype == BFLOAT16) for (int i = 0; i < SIZE; i++) halves[i] = to_bfloat16(values[i]);
        uint64_t from = block < begin ? begin : block, to = block + SIZE < end ? block + SIZE : end;
        memcpy((char *)out + (from - begin) * bytes, (const char *)sources[dtype] + (from - block) * bytes,
               (to - from) * bytes);
    }
}

/* `floyd`: `rows` and `words` have a row for each connection and a column for each unit. */
WIDE PUBLIC void initx_floyd(uint32_t *rows, const uint32_t *words, uint32_t connections, uint64_t units,
                             uint32_t inputs) {
    uint32_t drawn[SIZE], taken[SIZE];
    for (uint64_t first = 0; first < units; first += SIZE) {
        uint64_t count = units - first < SIZE ? units - first : SIZE;
        for (uint32_t step = 0; step < connections; step++) {
            uint32_t last = inputs - connections + step;
            for (uint64_t unit = 0; unit < count; unit++) {
                drawn[unit] = (uint32_t)((words[step * units + first + unit] * ((uint64_t)last + 1)) >> 32);
                taken[unit] = 0;
            }
            for (uint32_t i = 0; i < step; i++)
                for (uint64_t unit = 0; unit < count; unit++)
                    taken[unit] |= rows[i * units + first + unit] == drawn[unit];
            for (uint64_t unit = 0; unit < count; unit++)
                rows[step * units + first + unit] = taken[unit] ? last : drawn[unit];
        }
    }
}

/* The k-th smallest of keys of 31 bits, by counting their upper, middle and lower bits. */
static uint32_t smallest(const uint32_t *keys, uint64_t count, uint64_t k) {
    uint32_t prefix = 0;
    for (int shift = 22; shift >= 0; shift -= 11) {
        uint32_t bins[2048] = {0}, bin = 0;
        for (uint64_t i = 0; i < count; i++)
            if ((uint64_t)keys[i] >> (shift + 11) == prefix) bins[(keys[i] >> shift) & 2047]++;
        while (k > bins[bin]) k -= bins[bin++];
        prefix = (prefix << 11) | bin;
    }
    return prefix;
}

/* Without branches, which would be taken half of the time. */
#define KEEP(type)                                                  \
    for (uint64_t i = 0, next = 0; i < inputs; i++) {               \
        int equal = (keys[i] == threshold) & (ties > 0);            \
        int chosen = (keys[i] < threshold) | equal;                 \
        type value = ((const type *)values)[next < k ? next : 0];   \
        ((type *)out)[i] = chosen ? value : 0;                      \
        ties -= equal;                                              \
        next += chosen;                                             \
    }

/* `keep_smallest`: `out` and `keys` have a row for each unit. */
PUBLIC void initx_keep_smallest(char *out, int bytes, const uint32_t *keys, uint64_t units, uint64_t inputs, uint64_t k,
                                const char *values) {
    for (uint64_t unit = 0; unit < units; unit++, keys += inputs, out += inputs * bytes, values += k * bytes) {
        uint32_t threshold = smallest(keys, inputs, k);
        uint64_t ties = k;
        for (uint64_t i = 0; i < inputs; i++) ties -= keys[i] < threshold;
        if (bytes == 2) {
            KEEP(uint16_t)
        } else if (bytes == 4) {
            KEEP(uint32_t)
        } else {
            KEEP(uint64_t)
        }
    }
}

/* `householder_frame`: `out` is zero and becomes a frame, one reflection after the other, from the last. A row of 16
   columns may begin before that of the reflection, where the frame is still zero. */
#define FRAME(real)                                                                              \
    for (uint64_t j = columns; j-- > 0;) {                                                       \
        uint64_t first = j - j % panel, length = rows - j, width = columns - j / 16 * 16;        \
        real *v = (real *)draws + first * rows - first * (first - panel) / 2 + (j - first) * (rows - first + 1); \
        real *frame = (real *)out + j * columns + j / 16 * 16, sums[SIZE] = {0};                 \
        double square = 0;                                                                       \
        for (uint64_t i = 0; i < length; i++) square += (double)v[i] * v[i];                     \
        real head = square == 0 ? 1 : v[0], norm = square == 0 ? 1 : (real)sqrt(square);         \
        real sign = head < 0 ? 1 : -1, factor = (real)(1 / sqrt(norm * (norm - sign * head)));   \
        v[0] = head - sign * norm;                                                               \
        frame[j % 16] = sign;                                                                    \
        for (uint64_t i = 0; i < length; i++) {                                                  \
            const real *row = frame + i * columns, x = v[i] *= factor;                           \
            for (uint64_t k = 0; k < width; k++) sums[k] += x * row[k];                          \
        }                                                                                        \
        for (uint64_t i = 0; i < length; i++) {                                                  \
            real *row = frame + i * columns, x = v[i];                                           \
            for (uint64_t k = 0; k < width; k++) row[k] -= x * sums[k];                          \
        }                                                                                        \
    }

WIDE PUBLIC void initx_frame(void *out, void *draws, uint64_t rows, uint64_t columns, uint64_t panel, int bytes) {
    if (bytes == 4) {
        FRAME(float)
    } else {
        FRAME(double)
    }
}
