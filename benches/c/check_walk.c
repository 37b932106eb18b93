/* Nanoseconds a chunk to check serialised lists and to walk them: the best of some rounds. */
#define _POSIX_C_SOURCE 199309L
#include "phyr.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

int main(int argc, char **argv) {
    struct phyr list;
    struct phyr_walk walk;
    struct phyr_chunk chunk;
    double check = 1e300, visit = 1e300;
    uint64_t chunks = 0, sum = 0;
    long size, rounds = argc > 2 ? atol(argv[2]) : 1;
    unsigned char *bytes;
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
        return 1;
    rewind(file);
    bytes = malloc((size_t)size);
    if (bytes == NULL || fread(bytes, 1, (size_t)size, file) != (size_t)size)
        return 1;
    fclose(file);
    for (long round = 0; round < rounds; round++) {
        double start = now(), end;
        if (phyr_open(&list, bytes, (size_t)size) < 0)
            return 1;
        end = now();
        check = end - start < check ? end - start : check;
        chunks = 0;
        start = now();
        phyr_range(&list, 0, list.length, &walk);
        while (phyr_next(&walk, &chunk) == 1) {
            sum += chunk.paddr ^ chunk.length;
            chunks++;
        }
        end = now();
        visit = end - start < visit ? end - start : visit;
    }
    printf("check %.2f ns, walk %.2f ns a chunk of %llu (%llx)\n", check / (double)chunks,
           visit / (double)chunks, (unsigned long long)chunks, (unsigned long long)sum);
    free(bytes);
    return 0;
}
