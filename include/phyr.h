/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * phyr.h: reads a list of physical memory, as Phyr.to_bytes() wrote it, where it lies.
 *
 * C99 and C++11, no allocation, no library. The bytes may come from anywhere: phyr_open() checks
 * all of them. If they change later, no function leaves its bounds or loops for ever, but addresses
 * may be wrong: take a list of an untrusted process from a sealed file, or copy it first.
 *
 * A header of 48 bytes (docs/encoding.md), then words of 8 bytes, little-endian, a chunk each, in
 * granules ("pages"). A count above 2047 takes a word of its own.
 *
 *      63                          12+order  11+order            11 10          0
 *     +-------------------------------------+---+------------------+-------------+
 *     |  pfn, its low `order` bits dropped  | 1 | 0 ... 0 (order)  |    count    |
 *     +-------------------------------------+---+------------------+-------------+
 *
 * Positions, lengths and addresses are in bytes. Functions return 0 or more when they succeed, or a
 * negative error. A failed call fills nothing, but for descriptors, of which some may be written.
 *
 *     struct phyr list; struct phyr_walk walk; struct phyr_chunk chunk;
 *     if (phyr_open(&list, bytes, size) == 0 && phyr_range(&list, 0, list.length, &walk) == 0)
 *         while (phyr_next(&walk, &chunk) == 1)
 *             program_dma(chunk.paddr, chunk.length);
 */
#ifndef PHYR_H
#define PHYR_H

#include <stddef.h>
#include <stdint.h>
/* How functions are declared; in CUDA and HIP define it as `static inline __host__ __device__`. */
#ifndef PHYR_FN
#define PHYR_FN static inline
#endif

/* Errors. The first eight are reasons of Python's FormatError. */
#define PHYR_E_SIZE (-1)      /* shorter or longer than the header says */
#define PHYR_E_MAGIC (-2)     /* does not start with "PHYR" */
#define PHYR_E_VERSION (-3)   /* a version that this header does not read */
#define PHYR_E_CHECK (-4)     /* the digest differs: the bytes changed since they were written */
#define PHYR_E_HEADER (-5)    /* a header field with a value that it cannot have */
#define PHYR_E_ENTRY (-6)     /* a word that is no entry, or not the one encoding of its chunk */
#define PHYR_E_CHUNK (-7)     /* a chunk out of the granule's reach, or one too many */
#define PHYR_E_CANONICAL (-8) /* neighbouring chunks that touch */
#define PHYR_E_RANGE (-9)     /* a byte range or position that is not inside the list */
#define PHYR_E_CHANGED (-10)  /* the words changed after phyr_open() */
#define PHYR_E_EMPTY (-11)    /* a descriptor of no bytes */
#define PHYR_E_ALIGN (-12)    /* an address, or page size, that the format cannot hold */
#define PHYR_E_GAP (-13)      /* a chunk that starts or ends inside a device's page */
#define PHYR_E_ROOM (-14)     /* too little memory for the descriptors; nothing was written */
#define PHYR_E_KIND (-15)     /* user addresses, which are no device's */

#define PHYR_HEADER_BYTES 48
#define PHYR_MAX_COUNT UINT64_C(2047)         /* units that fit beside the address */
#define PHYR_PFN_LIMIT (UINT64_C(1) << 52)    /* page numbers are below this */

/* A list that phyr_open() checked. It refers to the caller's bytes. */
struct phyr {
    const unsigned char *words; /* packed entries; need not be aligned */
    uint64_t nr_words;
    uint64_t offset;            /* bytes of the first granule before the list */
    uint64_t length;            /* bytes */
    uint32_t provider;          /* of MMIO, else 0 */
    unsigned char lg2;          /* log2 of the granule in bytes */
    unsigned char kind;         /* 0 RAM, 1 MMIO, 2 user addresses */
};

/* A stretch of physical memory of 1 byte and more. `paddr + length` may be 2^64, which reads 0. */
struct phyr_chunk {
    uint64_t paddr, length;
};

/* A walk over a range of bytes of a list. Copying it is saving one's place. */
struct phyr_walk {
    struct phyr list;
    uint64_t word;     /* number of the word where the next chunk is looked for */
    uint64_t start;    /* where the chunk of that word starts, from the list's first granule */
    uint64_t position; /* next byte, from the list's first granule */
    uint64_t end;      /* one past the last byte, from the list's first granule */
};

/* What an NVMe command needs, and the entries written to list pages, links included. */
struct phyr_prp {
    uint64_t prp1, prp2, nr_entries;
};

/* Reads 8 little-endian bytes at any address. */
PHYR_FN uint64_t phyr_load(const unsigned char *b) {
    return b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24 |
           (uint64_t)b[4] << 32 | (uint64_t)b[5] << 40 | (uint64_t)b[6] << 48 |
           (uint64_t)b[7] << 56;
}

/* Writes 8 little-endian bytes at any address. */
PHYR_FN void phyr_store(unsigned char *bytes, uint64_t number) {
    int i;
    for (i = 0; i < 8; i++, number >>= 8)
        bytes[i] = (unsigned char)(number & 0xff);
}

/* Returns the number of zero bits below the lowest set bit; 63 for 0. */
PHYR_FN unsigned phyr_order(uint64_t number) {
    unsigned order = 0, step;
    for (step = 32; step != 0; step >>= 1)
        if ((number & ((UINT64_C(1) << step) - 1)) == 0) {
            number >>= step;
            order += step;
        }
    return order;
}

/* Packs `nr_pages` pages from number `pfn` on into `words`. Returns the number of words, 1 or 2, or
 * PHYR_E_ENTRY if there are no pages or one is numbered PHYR_PFN_LIMIT or above. */
PHYR_FN int phyr_encode(uint64_t pfn, uint64_t nr_pages, uint64_t words[2]) {
    unsigned order;
    uint64_t count;
    if (nr_pages == 0 || pfn >= PHYR_PFN_LIMIT || nr_pages > PHYR_PFN_LIMIT - pfn)
        return PHYR_E_ENTRY;
    order = phyr_order(pfn | nr_pages);
    count = nr_pages >> order;
    words[0] = pfn << 12 | UINT64_C(1) << (11 + order) | (count <= PHYR_MAX_COUNT ? count : 0);
    if (count <= PHYR_MAX_COUNT)
        return 1;
    words[1] = count;
    return 2;
}

/* Returns the pages of the chunk that starts with `word`, of those that phyr_decode() takes. */
PHYR_FN uint64_t phyr_nr_pages(uint64_t word, uint64_t next) {
    uint64_t y = word & ~PHYR_MAX_COUNT, count = word & PHYR_MAX_COUNT;
    return (count != 0 ? count : next) * ((y & (~y + 1)) >> 11);
}

/* Returns the number of its first page. */
PHYR_FN uint64_t phyr_pfn(uint64_t word) {
    return ((word & ~PHYR_MAX_COUNT) & ((word & ~PHYR_MAX_COUNT) - 1)) >> 12;
}

/* Unpacks the chunk that starts with `word`; `next` is the word after it, 0 if there is none.
 * Returns the number of words, 1 or 2, or PHYR_E_ENTRY unless they are a chunk's one encoding. */
PHYR_FN int phyr_decode(uint64_t word, uint64_t next, uint64_t *pfn, uint64_t *nr_pages) {
    uint64_t y = word & ~PHYR_MAX_COUNT, marker = y & (~y + 1), count = word & PHYR_MAX_COUNT;
    int taken = 1;
    if (y == 0)
        return PHYR_E_ENTRY;
    if (count == 0) {
        count = next;
        taken = 2;
        if (next <= PHYR_MAX_COUNT || next > PHYR_PFN_LIMIT >> (phyr_order(marker) - 11))
            return PHYR_E_ENTRY;
    }
    /* Were both the count and what is left of the page number even, the order could be larger. */
    if ((count & 1) == 0 && (word & marker << 1) == 0)
        return PHYR_E_ENTRY;
    *pfn = phyr_pfn(word);
    *nr_pages = phyr_nr_pages(word, next);
    return *nr_pages <= PHYR_PFN_LIMIT - *pfn ? taken : PHYR_E_ENTRY;
}

PHYR_FN uint64_t phyr_digest_step(uint64_t x) {
    x *= UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 32;
}

/* Returns the digest of the header's first five words and of the `nr_words` words behind it. */
PHYR_FN uint64_t phyr_digest(const unsigned char *bytes, uint64_t nr_words) {
    uint64_t lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    uint64_t i, digest = phyr_digest_step(5 + nr_words);
    for (i = 0; i < 5 + nr_words; i++) {
        const unsigned char *word = bytes + 8 * (size_t)(i < 5 ? i : i + 1);
        lanes[i & 7] = phyr_digest_step(lanes[i & 7] ^ phyr_load(word));
    }
    for (i = 0; i < 8; i++)
        digest = phyr_digest_step(digest ^ lanes[i]);
    return digest;
}

/* Returns word `number` of a list, 0 past its end. */
PHYR_FN uint64_t phyr_word(const struct phyr *list, uint64_t number) {
    return number < list->nr_words ? phyr_load(list->words + 8 * (size_t)number) : 0;
}

/* Checks every entry and that the length uses the first page and the last. */
PHYR_FN int phyr_check_entries(const struct phyr *list) {
    unsigned lg2 = list->lg2;
    uint64_t reach = UINT64_C(1) << (lg2 > 12 ? 64 - lg2 : 52);
    uint64_t number = 0, total = 0, end = 0, pfn, nr_pages;
    while (number < list->nr_words) {
        uint64_t next = phyr_word(list, number + 1);
        int taken = phyr_decode(phyr_word(list, number), next, &pfn, &nr_pages);
        if (taken < 0)
            return PHYR_E_ENTRY;
        if (pfn + nr_pages > reach)
            return PHYR_E_CHUNK;
        if (number != 0 && pfn == end)
            return PHYR_E_CANONICAL;
        if (nr_pages > (UINT64_MAX >> lg2) - total)
            return PHYR_E_CHUNK;
        total += nr_pages;
        end = pfn + nr_pages;
        number += (uint64_t)taken;
    }
    if (list->length == 0)
        return list->offset == 0 && total == 0 ? 0 : PHYR_E_HEADER;
    /* The last byte lies in the last page. The sum wraps for a length that is too long. */
    end = list->offset + list->length - 1;
    return end >= list->offset && (end >> lg2) + 1 == total ? 0 : PHYR_E_HEADER;
}

/* Checks a serialised list of `size` bytes and fills `list`, which refers to the bytes. O(n).
 *
 * Returns 0 or the error that Phyr.from_bytes() would raise, PHYR_E_SIZE to PHYR_E_CANONICAL. */
PHYR_FN int phyr_open(struct phyr *list, const void *bytes, size_t size) {
    const unsigned char *at = (const unsigned char *)bytes;
    uint64_t start = size < PHYR_HEADER_BYTES ? 0 : phyr_load(at), provider;
    struct phyr found;
    int error;
    if (size < PHYR_HEADER_BYTES)
        return PHYR_E_SIZE;
    if ((start & UINT32_MAX) != UINT32_C(0x52594850)) /* "PHYR" */
        return PHYR_E_MAGIC;
    if ((start >> 32 & UINT16_MAX) != 1)
        return PHYR_E_VERSION;
    found.words = at + PHYR_HEADER_BYTES;
    found.nr_words = phyr_load(at + 32);
    if (size % 8 != 0 || found.nr_words != (size - PHYR_HEADER_BYTES) / 8)
        return PHYR_E_SIZE;
    if (phyr_load(at + 40) != phyr_digest(at, found.nr_words))
        return PHYR_E_CHECK;
    provider = phyr_load(at + 8);
    found.lg2 = (unsigned char)(start >> 48 & UINT8_MAX);
    found.kind = (unsigned char)(start >> 56);
    found.provider = (uint32_t)provider;
    found.offset = phyr_load(at + 16);
    found.length = phyr_load(at + 24);
    if (found.lg2 > 16 || found.kind > 2 || provider > (found.kind == 1 ? UINT32_MAX : 0) ||
        found.offset >> found.lg2 != 0)
        return PHYR_E_HEADER;
    error = phyr_check_entries(&found);
    if (error == 0)
        *list = found;
    return error;
}

/* Starts a walk over bytes `start` to `end`, exclusive, of a list. */
PHYR_FN int phyr_range(const struct phyr *list, uint64_t start, uint64_t end,
                       struct phyr_walk *walk) {
    if (start > end || end > list->length)
        return PHYR_E_RANGE;
    walk->list = *list;
    walk->word = walk->start = 0;
    walk->position = list->offset + start;
    walk->end = list->offset + end;
    return 0;
}

/* Moves a walk to byte `position` of its list; its end stays. O(words between) forwards. */
PHYR_FN int phyr_seek(struct phyr_walk *walk, uint64_t position) {
    if (position > walk->end - walk->list.offset)
        return PHYR_E_RANGE;
    position += walk->list.offset;
    if (position < walk->start)
        walk->word = walk->start = 0;
    walk->position = position;
    return 0;
}

/* Takes the next chunk, trimmed to the range. Returns 1, 0 at the end, or PHYR_E_CHANGED. */
PHYR_FN int phyr_next(struct phyr_walk *walk, struct phyr_chunk *chunk) {
    uint64_t left = walk->end - walk->position;
    while (left != 0 && walk->word < walk->list.nr_words) {
        uint64_t word = phyr_word(&walk->list, walk->word), skip = walk->position - walk->start;
        int is_long = (word & PHYR_MAX_COUNT) == 0;
        uint64_t next = is_long ? phyr_word(&walk->list, walk->word + 1) : 0;
        uint64_t length = phyr_nr_pages(word, next) << walk->list.lg2;
        if (skip < length) {
            chunk->paddr = (phyr_pfn(word) << walk->list.lg2) + skip;
            chunk->length = length - skip < left ? length - skip : left;
            walk->position += chunk->length;
        }
        if (skip >= length || chunk->length == length - skip) {
            walk->start += length;
            walk->word += is_long ? 2 : 1;
        }
        if (skip < length)
            return 1;
    }
    return left == 0 ? 0 : PHYR_E_CHANGED;
}

/* Finds the physical address of byte `position`. O(n); for many in order, phyr_seek() a walk. */
PHYR_FN int phyr_translate(const struct phyr *list, uint64_t position, uint64_t *paddr) {
    struct phyr_walk walk;
    struct phyr_chunk chunk;
    if (position >= list->length || phyr_range(list, position, position + 1, &walk) < 0)
        return PHYR_E_RANGE;
    if (phyr_next(&walk, &chunk) != 1)
        return PHYR_E_CHANGED;
    *paddr = chunk.paddr;
    return 0;
}

/* Returns the entries of PRP lists, 8 bytes each, links included, that `length` bytes at `paddr`
 * need: 0 for up to two pages. `page_size` is a power of two from 4096 to 65536. */
PHYR_FN uint64_t phyr_prp_need(uint64_t paddr, uint64_t length, uint32_t page_size) {
    uint64_t slots = page_size / 8, first = page_size - (paddr & (page_size - 1));
    uint64_t pages = length <= first ? 0 : ((length - first - 1) / page_size) + 1;
    /* All lists but the last lose a slot to the link; the last keeps all of its own. */
    return pages <= 1 ? 0 : pages + (pages - 2) / (slots - 1);
}

/* Takes the next `length` bytes of a walk, or what is left, which must be one piece that starts at
 * a multiple of `align`. Returns 1, 0 at the end, PHYR_E_GAP or PHYR_E_CHANGED. */
PHYR_FN int phyr_next_page(struct phyr_walk *walk, uint64_t length, uint32_t align,
                           uint64_t *paddr) {
    struct phyr_walk page = *walk;
    struct phyr_chunk chunk;
    int found;
    page.end = walk->end - walk->position > length ? walk->position + length : walk->end;
    found = phyr_next(&page, &chunk);
    if (found == 1 && (page.position != page.end || (chunk.paddr & (align - 1)) != 0))
        return PHYR_E_GAP;
    if (found == 1) {
        page.end = walk->end;
        *walk = page;
        *paddr = chunk.paddr;
    }
    return found;
}

/* Writes PRP lists for the rest of a walk, for a controller with pages of `page_size`.
 *
 * `lists` says where the list pages are in physical memory; the CPU reaches their bytes at `out`,
 * `out_bytes` of them. The need is computed first, and nothing is written behind it.
 *
 * Errors: PHYR_E_EMPTY for no bytes; PHYR_E_ALIGN for a page size that is no power of two from 4096
 * to 65536, or a first address that is no multiple of 4; PHYR_E_ROOM if `out` or `lists` is too
 * short; PHYR_E_GAP for a chunk, of data or of list pages, that starts or ends inside a page;
 * PHYR_E_KIND for data or list pages by user addresses; PHYR_E_CHANGED.
 * Source: NVM Express Base Specification 2.0, section 4.1.1. */
PHYR_FN int phyr_prp_lists(struct phyr_walk walk, uint32_t page_size, const struct phyr *lists,
                           void *out, size_t out_bytes, struct phyr_prp *prp) {
    struct phyr_walk first = walk, pages = walk;
    struct phyr_chunk chunk;
    struct phyr_prp made = {0, 0, 0};
    uint64_t at, paddr = 0, slots = page_size / 8, need;
    int found;
    if (page_size < 4096 || page_size > 65536 || (page_size & (page_size - 1)) != 0)
        return PHYR_E_ALIGN;
    found = phyr_next(&first, &chunk);
    if (found <= 0)
        return found == 0 ? PHYR_E_EMPTY : found;
    if ((chunk.paddr & 3) != 0)
        return PHYR_E_ALIGN;
    need = phyr_prp_need(chunk.paddr, walk.end - walk.position, page_size);
    if (walk.list.kind == 2 || (need != 0 && lists->kind == 2))
        return PHYR_E_KIND;
    if (need > out_bytes / 8 ||
        (need != 0 && phyr_range(lists, 0, ((need - 1) / slots + 1) * page_size, &pages) < 0))
        return PHYR_E_ROOM;
    found = phyr_next_page(&walk, page_size - (chunk.paddr & (page_size - 1)), 4, &made.prp1);
    if (found == 1)
        found = phyr_next_page(need != 0 ? &pages : &walk, page_size, page_size, &made.prp2);
    for (at = 0; at < need && found == 1; at++) {
        /* The last slot of a list page leads to the next, unless it is the last that is needed. */
        int is_link = at % slots == slots - 1 && at + 1 != need;
        found = phyr_next_page(is_link ? &pages : &walk, page_size, page_size, &paddr);
        if (found == 1)
            phyr_store((unsigned char *)out + 8 * (size_t)at, paddr);
    }
    if (found < 0 || at < need)
        return found < 0 ? found : PHYR_E_CHANGED;
    made.nr_entries = need;
    *prp = made;
    return 0;
}

#if defined(__unix__) && !defined(PHYR_NO_IOVEC)
#include <sys/uio.h>

/* Fills up to `most` iovecs with the next chunks of a walk, where physical address 0 is mapped at
 * `base`: a guest's memory, or a direct map. Returns the number filled, 0 at the end of the walk,
 * PHYR_E_ALIGN for a chunk that would pass the end of the virtual space, or PHYR_E_CHANGED. */
PHYR_FN int phyr_iovec(struct phyr_walk *walk, uint64_t base, struct iovec *out, int most) {
    struct phyr_walk next = *walk;
    struct phyr_chunk chunk;
    int at = 0, found = 0;
    while (at < most && (found = phyr_next(&next, &chunk)) == 1) {
        uint64_t last = chunk.paddr + (chunk.length - 1);
        if (last > UINTPTR_MAX - base || chunk.length > SIZE_MAX)
            return at != 0 ? at : PHYR_E_ALIGN;
        out[at].iov_base = (void *)(uintptr_t)(chunk.paddr + base);
        out[at].iov_len = (size_t)chunk.length;
        *walk = next;
        at++;
    }
    return found < 0 && at == 0 ? found : at;
}
#endif
#endif /* PHYR_H */
