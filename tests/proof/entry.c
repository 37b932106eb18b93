/* The packed word of include/phyr.h, for CBMC to prove for all inputs. Each function is a law. CBMC
 * also proves that no shift is too far, nothing is read out of bounds and no loop goes on for ever. */
#include <assert.h>

#include "phyr.h"

#define LAST (PHYR_PFN_LIMIT - 1)

uint64_t nondet_number(void);

/* The largest order that both numbers allow, read off the picture bit by bit. */
static unsigned order_of(uint64_t pfn, uint64_t nr_pages) {
    unsigned order = 0;
    while (order < 52 && ((pfn | nr_pages) >> order & 1) == 0)
        order++;
    return order;
}

void encode_is_the_picture(void) {
    uint64_t pfn = nondet_number(), nr_pages = nondet_number(), words[2] = {0, 0};
    int taken = phyr_encode(pfn, nr_pages, words);
    unsigned order = order_of(pfn, nr_pages);
    uint64_t count = nr_pages >> order;
    if (nr_pages == 0 || pfn > LAST || nr_pages - 1 > LAST - pfn)
        assert(taken == PHYR_E_ENTRY && words[0] == 0 && words[1] == 0);
    else if (count <= 2047)
        assert(taken == 1 && words[0] == ((pfn << 12) + (UINT64_C(2048) << order) + count));
    else
        assert(taken == 2 && words[0] == ((pfn << 12) + (UINT64_C(2048) << order)) &&
               words[1] == count);
}

void decode_gives_back_what_was_encoded(void) {
    uint64_t pfn = nondet_number(), nr_pages = nondet_number(), words[2] = {0, 0}, page, pages;
    int taken = phyr_encode(pfn, nr_pages, words);
    if (taken < 0)
        return;
    assert(phyr_decode(words[0], taken == 2 ? words[1] : nondet_number(), &page, &pages) == taken);
    assert(page == pfn && pages == nr_pages);
}

void what_decodes_is_the_one_encoding(void) {
    uint64_t word = nondet_number(), next = nondet_number(), words[2], pfn, nr_pages;
    int taken = phyr_decode(word, next, &pfn, &nr_pages);
    if (taken < 0)
        return;
    assert(taken == 1 || taken == 2);
    assert(nr_pages != 0 && pfn <= LAST && nr_pages - 1 <= LAST - pfn);
    assert(phyr_encode(pfn, nr_pages, words) == taken);
    assert(words[0] == word && (taken == 1 || words[1] == next));
}

void order_counts_zeros(void) {
    uint64_t number = nondet_number();
    unsigned order = phyr_order(number);
    assert(order < 64);
    if (number != 0)
        assert((number >> order & 1) == 1 && (number & ((UINT64_C(1) << order) - 1)) == 0);
}
