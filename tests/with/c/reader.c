/* Reads cases from its input and says what phyr.h makes of them, for a test to compare.
 *
 * A case is a number of bytes in a list, the bytes, and the page size and bytes of PRP lists (0 for
 * none), each number 8 bytes, little-endian. The list is copied to memory of exactly its size, so a
 * sanitizer sees a read behind it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "phyr.h"

#define CHECK(fact)                                                       \
    do {                                                                  \
        if (!(fact)) {                                                    \
            printf("FALSE line %d: %s\n", __LINE__, #fact);               \
            exit(1);                                                      \
        }                                                                 \
    } while (0)

/* Walks a range by phyr_next and by phyr_iovec, and prints its chunks. */
static void show(const struct phyr *list, uint64_t start, uint64_t end) {
    struct phyr_walk walk, vectors;
    struct phyr_chunk chunk;
    uint64_t length = 0, paddr;
    printf("%" PRIu64 "..%" PRIu64 ":", start, end);
    CHECK(phyr_range(list, start, end, &walk) == 0);
    vectors = walk;
    while (phyr_next(&walk, &chunk) == 1) {
        struct iovec vector;
        int found = phyr_iovec(&vectors, 0, &vector, 1);
        CHECK(found == 1 && vector.iov_len == chunk.length);
        CHECK((uintptr_t)vector.iov_base == chunk.paddr);
        CHECK(phyr_translate(list, start + length, &paddr) == 0 && paddr == chunk.paddr);
        printf(" %" PRIx64 "+%" PRIx64, chunk.paddr, chunk.length);
        length += chunk.length;
        CHECK(phyr_translate(list, start + length - 1, &paddr) == 0);
        CHECK(paddr == chunk.paddr + (chunk.length - 1));
    }
    CHECK(length == end - start && phyr_next(&walk, &chunk) == 0);
    CHECK(phyr_iovec(&vectors, 0, NULL, 0) == 0);
    /* Sought back and forth, it finds the same. */
    if (length != 0) {
        uint64_t middle = start + length / 2;
        CHECK(phyr_seek(&walk, middle) == 0 && phyr_next(&walk, &chunk) == 1);
        CHECK(phyr_translate(list, middle, &paddr) == 0 && chunk.paddr == paddr);
        CHECK(phyr_seek(&walk, start) == 0 && phyr_next(&walk, &chunk) == 1);
        CHECK(phyr_translate(list, start, &paddr) == 0 && chunk.paddr == paddr);
        CHECK(phyr_seek(&walk, end + 1) == PHYR_E_RANGE);
    }
    CHECK(phyr_translate(list, list->length, &paddr) == PHYR_E_RANGE);
    CHECK(phyr_range(list, 0, list->length + 1, &walk) == PHYR_E_RANGE || list->length == UINT64_MAX);
    CHECK(phyr_range(list, 1, 0, &walk) == PHYR_E_RANGE);
    putchar('\n');
}

/* Writes PRP lists into pages 0x7000, 0x8000, ... of exactly `out_bytes` of memory. */
static void show_prp(const struct phyr *list, uint32_t page_size, size_t out_bytes) {
    unsigned char pages[PHYR_HEADER_BYTES + 16] = {0};
    unsigned char *out = (unsigned char *)malloc(out_bytes != 0 ? out_bytes : 1);
    uint64_t words[2] = {0, 0}, i, nr_pages = out_bytes / page_size + 1;
    struct phyr lists = {pages + PHYR_HEADER_BYTES, 0, 0, 0, 0, 0, 0};
    struct phyr_walk walk;
    struct phyr_prp prp;
    int error;
    lists.nr_words = (uint64_t)phyr_encode(UINT64_C(0x70000) * 4096 / page_size, nr_pages, words);
    lists.length = nr_pages * page_size;
    lists.lg2 = (unsigned char)phyr_order(page_size);
    phyr_store(pages + PHYR_HEADER_BYTES, words[0]);
    phyr_store(pages + PHYR_HEADER_BYTES + 8, words[1]);
    CHECK(phyr_range(list, 0, list->length, &walk) == 0);
    error = phyr_prp_lists(walk, page_size, &lists, out, out_bytes, &prp);
    if (error < 0)
        printf("prp %d\n", error);
    else {
        printf("prp %" PRIx64 " %" PRIx64, prp.prp1, prp.prp2);
        for (i = 0; i < prp.nr_entries; i++)
            printf(" %" PRIx64, phyr_load(out + 8 * i));
        putchar('\n');
    }
    free(out);
}

static uint64_t number(void) {
    unsigned char bytes[8];
    if (fread(bytes, 1, 8, stdin) != 8)
        exit(0);
    return phyr_load(bytes);
}

/* Changes words behind an opened list's back: answers may be wrong, but come. */
static void disturb(unsigned char *bytes, size_t size, uint64_t seed) {
    struct phyr list;
    struct phyr_walk walk;
    struct phyr_chunk chunk;
    uint64_t paddr;
    size_t i;
    CHECK(phyr_open(&list, bytes, size) == 0);
    for (i = 0; i < size; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        bytes[i] = (unsigned char)(seed >> 60 != 0 ? seed >> 48 & 0xff : bytes[i]);
    }
    CHECK(phyr_range(&list, 0, list.length, &walk) == 0);
    for (i = 0; phyr_next(&walk, &chunk) == 1; i++)
        CHECK(i <= size);
    if (list.length != 0)
        (void)phyr_translate(&list, list.length - 1, &paddr);
}

int main(void) {
    for (;;) {
        size_t size = (size_t)number();
        unsigned char *bytes = (unsigned char *)malloc(size != 0 ? size : 1);
        uint32_t page_size;
        size_t out_bytes;
        struct phyr list;
        int error;
        CHECK(bytes != NULL && fread(bytes, 1, size, stdin) == size);
        page_size = (uint32_t)number();
        out_bytes = (size_t)number();
        error = phyr_open(&list, bytes, size);
        printf("open %d\n", error);
        if (error == 0) {
            uint64_t length = list.length;
            printf("list %u %u %" PRIu32 " %" PRIx64 "\n", list.lg2, list.kind, list.provider, length);
            show(&list, 0, length);
            show(&list, length / 3, length - length / 4);
            if (page_size != 0)
                show_prp(&list, page_size, out_bytes);
            disturb(bytes, size, length);
        }
        free(bytes);
    }
}
