/* Reads and writes what a kernel hands to the next, with structs laid out as in the headers
 * include/linux/kho/abi/{memfd,kexec_handover}.h of Linux 7.0, for pages of 4096 bytes; and the
 * array of a dma-buf, of struct phys_vec of include/linux/types.h, with 64-bit addresses.
 *
 * Memory is one stretch of the physical address space, from BASE on.
 *
 *     handover read-memfd                 stdin: the array; prints pfn, flags, index
 *     handover read-dma-buf               stdin: the array; prints paddr, len
 *     handover read-vmalloc BASE HEAD     stdin: memory; prints the pages of each address
 *     handover read-radix BASE ROOT       stdin: memory; prints address and order of each key
 *     handover write-memfd                stdin: lines of pfn, flags, index
 *     handover write-dma-buf              stdin: lines of paddr, len
 *     handover write-vmalloc BASE ORDER   stdin: lines of addresses; writes the head, then memory
 *     handover write-radix BASE           stdin: lines of address and order; the root is at BASE
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u
#define ROOM (64u << 20)

struct folio {
    uint64_t pfn : 52;
    uint64_t flags : 12;
    uint64_t index;
} __attribute__((packed));

typedef uint64_t phys_addr_t;

struct phys_vec {
    phys_addr_t paddr;
    size_t len;
};

struct area_page {
    union {
        uint64_t phys;
        struct area_page *ptr;
    } next;
    uint64_t phys[(PAGE - sizeof(uint64_t)) / sizeof(uint64_t)];
};

struct area {
    union {
        uint64_t phys;
        struct area_page *ptr;
    } first;
    unsigned int total_pages;
    unsigned short flags;
    unsigned short order;
};

enum { ORDER_0 = 64 - 12, TABLE = 9, BITMAP = 15, DEPTH = 6 };

struct node {
    uint64_t table[1 << TABLE];
};

struct leaf {
    unsigned long bitmap[(1 << BITMAP) / (8 * sizeof(unsigned long))];
};

_Static_assert(sizeof(struct folio) == 16, "packed");
_Static_assert(sizeof(struct phys_vec) == 16, "two words");
_Static_assert(sizeof(struct area_page) == PAGE, "a page");
_Static_assert(sizeof(struct area) == 16, "two words");
_Static_assert(sizeof(struct node) == PAGE && sizeof(struct leaf) == PAGE, "a page");

static unsigned char *memory;
static uint64_t base;
static size_t used;

static void fail(const char *why)
{
    fprintf(stderr, "handover: %s\n", why);
    exit(1);
}

static void *at(uint64_t address)
{
    if (address < base || address - base > ROOM - PAGE || address % PAGE)
        fail("address outside memory");
    return memory + (address - base);
}

static uint64_t new_page(void)
{
    if (used + PAGE > ROOM)
        fail("no memory");
    used += PAGE;
    return base + used - PAGE;
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 0);
}

static int numbers(uint64_t *out, int count)
{
    int given = 0;

    while (given < count && scanf("%lu", &out[given]) == 1)
        given++;
    if (given && given < count)
        fail("a cut line");
    return given;
}

static void read_memfd(void)
{
    struct folio folio;

    while (fread(&folio, sizeof(folio), 1, stdin) == 1)
        printf("%lu %lu %lu\n", (unsigned long)folio.pfn, (unsigned long)folio.flags, folio.index);
}

static void write_memfd(void)
{
    uint64_t line[3];

    while (numbers(line, 3)) {
        struct folio folio = { .pfn = line[0], .flags = line[1], .index = line[2] };

        fwrite(&folio, sizeof(folio), 1, stdout);
    }
}

static void read_dma_buf(void)
{
    struct phys_vec vec;

    while (fread(&vec, sizeof(vec), 1, stdin) == 1)
        printf("%lu %lu\n", vec.paddr, vec.len);
}

static void write_dma_buf(void)
{
    uint64_t line[2];

    while (numbers(line, 2)) {
        struct phys_vec vec = { .paddr = line[0], .len = line[1] };

        fwrite(&vec, sizeof(vec), 1, stdout);
    }
}

static void read_vmalloc(const char *hex)
{
    struct area area;
    unsigned char *bytes = (unsigned char *)&area;
    unsigned int pages = 0;
    uint64_t chunk;

    for (size_t i = 0; i < sizeof(area); i++)
        if (sscanf(hex + 2 * i, "%2hhx", &bytes[i]) != 1)
            fail("no head");
    for (chunk = area.first.phys; chunk;) {
        const struct area_page *page = at(chunk);
        const size_t count = sizeof(page->phys) / sizeof(page->phys[0]);

        for (size_t i = 0; i < count && page->phys[i]; i++) {
            printf("%lu %u\n", page->phys[i], 1u << area.order);
            pages += 1u << area.order;
        }
        chunk = page->next.phys;
    }
    if (pages != area.total_pages)
        fail("another number of pages");
    printf("flags %hu\n", area.flags);
}

static void write_vmalloc(unsigned short order)
{
    struct area area = { .flags = order ? 3 : 1, .order = order };
    struct area_page *page;
    size_t i = 0;
    uint64_t address;

    area.first.phys = new_page();
    page = at(area.first.phys);
    while (numbers(&address, 1)) {
        page->phys[i++] = address;
        area.total_pages += 1u << order;
        if (i == sizeof(page->phys) / sizeof(page->phys[0])) {
            page->next.phys = new_page();
            page = at(page->next.phys);
            i = 0;
        }
    }
    fwrite(&area, sizeof(area), 1, stdout);
    fwrite(memory, used, 1, stdout);
}

static void walk(uint64_t address, int level, uint64_t key)
{
    if (level == 0) {
        const struct leaf *leaf = at(address);

        for (uint64_t bit = 0; bit < 1u << BITMAP; bit++)
            if (leaf->bitmap[bit / 64] >> (bit % 64) & 1) {
                const uint64_t found = key | bit;
                const int order = ORDER_0 - (63 - __builtin_clzl(found));

                printf("%lu %d\n", found << (12 + order), order);
            }
        return;
    }
    const struct node *node = at(address);

    for (uint64_t slot = 0; slot < 1u << TABLE; slot++)
        if (node->table[slot])
            walk(node->table[slot], level - 1, key | slot << (BITMAP + (level - 1) * TABLE));
}

static void write_radix(void)
{
    uint64_t line[2];

    new_page();
    while (numbers(line, 2)) {
        const uint64_t key = UINT64_C(1) << (ORDER_0 - line[1]) | line[0] >> (12 + line[1]);
        uint64_t here = base;

        for (int level = DEPTH - 1; level; level--) {
            struct node *node = at(here);
            const uint64_t slot = key >> (BITMAP + (level - 1) * TABLE) & ((1u << TABLE) - 1);

            if (!node->table[slot])
                node->table[slot] = new_page();
            here = node->table[slot];
        }
        struct leaf *leaf = at(here);
        const uint64_t bit = key & ((1u << BITMAP) - 1);

        leaf->bitmap[bit / 64] |= 1ul << (bit % 64);
    }
    fwrite(memory, used, 1, stdout);
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";

    memory = calloc(ROOM, 1);
    base = argc > 2 ? number(argv[2]) : 0;
    if (!memory)
        fail("no memory");
    if (!strcmp(verb, "read-memfd"))
        read_memfd();
    else if (!strcmp(verb, "write-memfd"))
        write_memfd();
    else if (!strcmp(verb, "read-dma-buf"))
        read_dma_buf();
    else if (!strcmp(verb, "write-dma-buf"))
        write_dma_buf();
    else if (argc < 3)
        fail("which verb?");
    else if (!strcmp(verb, "write-radix"))
        write_radix();
    else if (!strcmp(verb, "write-vmalloc") && argc > 3)
        write_vmalloc((unsigned short)number(argv[3]));
    else if (argc > 3 && fread(memory, 1, ROOM, stdin) && !strcmp(verb, "read-vmalloc"))
        read_vmalloc(argv[3]);
    else if (argc > 3 && !strcmp(verb, "read-radix"))
        walk(number(argv[3]), DEPTH - 1, 0);
    else
        fail("which verb?");
    free(memory);
    return 0;
}
