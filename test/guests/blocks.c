/*
 * Reads and writes a file in blocks, for measurements: the same source is
 * compiled for Wasm and natively.
 *
 *     blocks read|write BLOCK TOTAL PASSES FILE
 *
 * Each pass reads or overwrites the file's TOTAL bytes. It prints how many ns
 * each one took. A pass before the first makes the file, or is not measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int die(const char *what) {
	fprintf(stderr, "blocks: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void pass(int fd, int writing, char *b, long block, long total) {
	if (lseek(fd, 0, SEEK_SET) != 0)
		die("lseek");
	for (long done = 0; done < total; done += block)
		if ((writing ? write(fd, b, block) : read(fd, b, block)) != block)
			die(writing ? "write" : "read");
}

int main(int argc, char **argv) {
	if (argc != 6) {
		fprintf(stderr, "usage: blocks read|write BLOCK TOTAL PASSES FILE\n");
		return 2;
	}
	int writing = !strcmp(argv[1], "write");
	long block = atol(argv[2]), total = atol(argv[3]), passes = atol(argv[4]);
	int fd = open(argv[5], O_RDWR | O_CREAT, 0600);
	char *b = malloc(block);
	if (fd < 0 || !b)
		die(argv[5]);
	memset(b, 'x', block);
	pass(fd, 1, b, block, total);
	pass(fd, writing, b, block, total);
	while (passes-- > 0) {
		int64_t began = now();
		pass(fd, writing, b, block, total);
		printf("%lld\n", (long long)(now() - began));
	}
	return 0;
}
