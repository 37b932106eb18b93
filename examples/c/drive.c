/* The driver of daemon.py: takes memory and its list from a socket, and makes an NVMe command of it.
 *
 * It needs no privilege and no library: phyr.h checks the list where it lies in shared memory. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "phyr.h"

#define LISTS (4 * 4096) /* bytes of memory set aside for PRP lists */

/* Receives two files over a socket. */
static int receive(int connection, int files[2]) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    char byte;
    struct iovec data = {&byte, 1};
    struct msghdr message;
    struct cmsghdr *found;
    memset(&message, 0, sizeof message);
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    if (recvmsg(connection, &message, 0) != 1)
        return -1;
    found = CMSG_FIRSTHDR(&message);
    if (found == NULL || found->cmsg_len != CMSG_LEN(2 * sizeof(int)))
        return -1;
    memcpy(files, CMSG_DATA(found), 2 * sizeof(int));
    return 0;
}

/* Maps a file as a whole. */
static void *map(int file, int prot, size_t *size) {
    struct stat status;
    void *at = MAP_FAILED;
    if (fstat(file, &status) == 0) {
        *size = (size_t)status.st_size;
        at = mmap(NULL, *size, prot, MAP_SHARED, file, 0);
    }
    if (at == MAP_FAILED) {
        perror("driver: map");
        exit(1);
    }
    return at;
}

int main(int argc, char **argv) {
    int files[2], error;
    size_t list_size, memory_size;
    uint64_t chunks = 0;
    struct phyr list;
    struct phyr_walk walk;
    struct phyr_chunk chunk;
    struct phyr_prp prp;
    const void *bytes;
    char *memory;
    if (argc != 2 || receive(atoi(argv[1]), files) < 0) {
        fprintf(stderr, "usage: daemon.py DRIVER\n");
        return 1;
    }
    memory = (char *)map(files[0], PROT_READ | PROT_WRITE, &memory_size);
    bytes = map(files[1], PROT_READ, &list_size);
    error = phyr_open(&list, bytes, list_size);
    if (error < 0 || list.length != memory_size || memory_size < LISTS) {
        fprintf(stderr, "driver: not the list of this memory (%d)\n", error);
        return 1;
    }
    phyr_range(&list, 0, list.length, &walk);
    while (phyr_next(&walk, &chunk) == 1)
        chunks++;
    printf("driver: %" PRIu64 " bytes in %" PRIu64 " chunks\n", list.length, chunks);

    /* The first pages of the memory take the PRP lists, the rest is the data. */
    phyr_range(&list, LISTS, list.length, &walk);
    error = phyr_prp_lists(walk, 4096, &list, memory, LISTS, &prp);
    if (error < 0) {
        fprintf(stderr, "driver: no command (%d)\n", error);
        return 1;
    }
    printf("driver: prp1 %#" PRIx64 ", prp2 %#" PRIx64 ", %" PRIu64 " entries\n", prp.prp1, prp.prp2,
           prp.nr_entries);
    memcpy(memory, "hello", 5);
    return 0;
}
