/* Uses every function of phyr.h in device code of CUDA and HIP. Their attributes are defined here, so
 * that clang compiles it without their headers. */
#define __global__ __attribute__((global))
#define __host__ __attribute__((host))
#define __device__ __attribute__((device))

#define PHYR_FN static inline __host__ __device__
#define PHYR_NO_IOVEC
#include "phyr.h"

/* Opens a list, walks it from byte `start`, and writes its chunks and PRP lists. */
extern "C" __global__ void drive(const unsigned char *bytes, size_t size, uint64_t start,
                                 struct phyr_chunk *chunks, int *result, void *out,
                                 size_t out_bytes, struct phyr_prp *prp) {
    struct phyr list;
    struct phyr_walk walk;
    uint64_t words[2], pfn, nr_pages;
    *result = phyr_open(&list, bytes, size);
    if (*result < 0)
        return;
    *result = phyr_range(&list, 0, list.length, &walk);
    if (*result == 0)
        *result = phyr_prp_lists(walk, 4096, &list, out, out_bytes, prp);
    if (*result == 0)
        *result = phyr_seek(&walk, start);
    while (*result == 0 && phyr_next(&walk, chunks) == 1)
        chunks++;
    if (*result == 0)
        *result = phyr_translate(&list, start, &chunks->paddr);
    if (*result == 0)
        *result = phyr_encode(chunks->paddr >> 12, list.length >> 12, words);
    if (*result > 0)
        *result = phyr_decode(words[0], *result == 2 ? words[1] : 0, &pfn, &nr_pages);
}
