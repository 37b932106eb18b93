/* The reads of a process's page map and of its pages' flags, and nothing else: the least that a
 * program can take that tells what `phyr map` tells.
 *
 *   page_reads PID map     /proc/PID/pagemap, 1 MiB at a time
 *   page_reads PID flags   and /proc/kpageflags: sorted page numbers, neighbours in one read
 *
 * Prints the seconds of the processor that the reads took, page numbers sorted meanwhile not
 * counted, and the number of reads.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 1 << 17, GAP = 4, MOST = 1 << 15 };

static uint64_t records[PIECE];
static uint64_t *numbers;
static size_t nr_numbers, room, nr_reads;

static double now(void) {
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int ascending(const void *first, const void *second) {
    uint64_t a = *(const uint64_t *)first, b = *(const uint64_t *)second;

    return (a > b) - (a < b);
}

static int open_of(const char *pid, const char *name) {
    char path[64];
    int file;

    snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
    file = open(path, O_RDONLY);
    if (file < 0) {
        perror(path);
        exit(1);
    }
    return file;
}

static void keep(ssize_t count) {
    for (ssize_t at = 0; at < count; at++) {
        if (!(records[at] >> 63))
            continue;
        if (nr_numbers == room) {
            room = room ? 2 * room : PIECE;
            numbers = realloc(numbers, room * sizeof(*numbers));
            if (!numbers)
                exit(1);
        }
        numbers[nr_numbers++] = records[at] & ((1ULL << 55) - 1);
    }
}

static double read_map(const char *pid, int wants_numbers) {
    int file = open_of(pid, "pagemap");
    FILE *maps = fdopen(open_of(pid, "maps"), "r");
    unsigned long start, end;
    char line[8192];
    double spent = 0;

    while (fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%lx-%lx", &start, &end) != 2 || end >> 60)
            continue;
        for (start >>= 12, end >>= 12; start < end;) {
            size_t wanted = end - start < PIECE ? end - start : PIECE;
            double began = now();
            ssize_t got = pread(file, records, wanted * 8, start * 8);

            spent += now() - began;
            nr_reads++;
            if (got <= 0)
                break;
            if (wants_numbers)
                keep(got / 8);
            start += got / 8;
        }
    }
    return spent;
}

static double read_flags(void) {
    int file = open("/proc/kpageflags", O_RDONLY);
    size_t at = 0;
    double began;

    qsort(numbers, nr_numbers, sizeof(*numbers), ascending);
    began = now();
    while (at < nr_numbers) {
        size_t next = at + 1;

        while (next < nr_numbers && numbers[next] <= numbers[next - 1] + 1 + GAP &&
               numbers[next] - numbers[at] < MOST)
            next++;
        if (pread(file, records, (numbers[next - 1] - numbers[at] + 1) * 8, numbers[at] * 8) < 0)
            exit(1);
        nr_reads++;
        at = next;
    }
    return now() - began;
}

int main(int count, char **words) {
    int wants_flags = count > 2 && !strcmp(words[2], "flags");
    double spent;

    if (count < 3)
        return 2;
    spent = read_map(words[1], wants_flags);
    printf("map %.4f %zu\n", spent, nr_reads);
    if (wants_flags) {
        nr_reads = 0;
        spent = read_flags();
        printf("flags %.4f %zu\n", spent, nr_reads);
    }
    return 0;
}
