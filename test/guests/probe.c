/*
 * A guest with one behaviour per verb (argv[1]), for tests that look at it from
 * outside. Functions of traps have names of their own and are not inlined, so
 * that a trace can be checked for them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define NOINLINE __attribute__((noinline))

static int fail(const char *what) {
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 1;
}

static void sleep_ms(long ms) {
	struct timespec t = {ms / 1000, (ms % 1000) * 1000000};
	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

/* Copies a descriptor to stdout until its end. */
static int copy(int fd, const char *name) {
	char buf[65536];
	ssize_t n;
	while ((n = read(fd, buf, sizeof buf)) > 0)
		for (ssize_t done = 0, w; done < n; done += w)
			if ((w = write(1, buf + done, n - done)) < 0)
				return fail("stdout");
	return n < 0 ? fail(name) : 0;
}

/* Writes n bytes, numbered lines of 16 bytes, so that a lost part is seen. */
static int pour(int fd, long n) {
	char line[17];
	for (long at = 0; at < n; at += 16) {
		snprintf(line, sizeof line, "%015ld\n", at);
		long want = n - at < 16 ? n - at : 16;
		for (long done = 0, w; done < want; done += w)
			if ((w = write(fd, line + done, want - done)) < 0)
				return fail("write");
	}
	return 0;
}

static int tick(long lines, long ms) {
	for (long i = 1; i <= lines; i++) {
		printf("tick %ld\n", i);
		fflush(stdout);
		sleep_ms(ms);
	}
	return 0;
}

static int allocate(long mib) {
	for (long i = 1; i <= mib; i++) {
		char *p = malloc(1 << 20);
		if (!p) {
			printf("memory ends at %ld MiB\n", i - 1);
			return 3;
		}
		for (long at = 0; at < 1 << 20; at += 4096)
			((volatile char *)p)[at] = 1;
	}
	printf("allocated %ld MiB\n", mib);
	return 0;
}

/* Waits for the first signal, and tells of it. */
static int drain(void) {
	const char *fd = getenv("WASI_SIGNAL_FD");
	if (!fd) {
		puts("no signals to read");
		return 4;
	}
	puts("waiting");
	fflush(stdout);
	char line[32];
	ssize_t n = read(atoi(fd), line, sizeof line);
	if (n <= 0)
		return fail("WASI_SIGNAL_FD");
	printf("drains on %.*s", (int)n, line);
	return 0;
}

/* Opens a file again and again until that fails. */
static int open_until_the_end(const char *path) {
	long n = 0;
	while (open(path, O_RDONLY) >= 0)
		n++;
	printf("%s\n", errno == EMFILE ? "EMFILE" : strerror(errno));
	fprintf(stderr, "%ld\n", n);
	return 0;
}

static int list(const char *path) {
	DIR *d = opendir(path);
	if (!d)
		return fail(path);
	for (struct dirent *e; (e = readdir(d));)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			puts(e->d_name);
	closedir(d);
	return 0;
}

static int put(const char *path, const char *text) {
	FILE *f = fopen(path, "w");
	if (!f)
		return fail(path);
	if (fputs(text, f) < 0 || fclose(f) != 0)
		return fail(path);
	return 0;
}

static int show_stat(const char *path) {
	struct stat st;
	if (stat(path, &st) != 0)
		return fail(path);
	const char *kind = S_ISDIR(st.st_mode) ? "directory" : S_ISREG(st.st_mode) ? "file" : "other";
	printf("%s %lld\n", kind, (long long)st.st_size);
	return 0;
}

static volatile int zero;
static volatile uintptr_t beyond = 0xfffffff0;

NOINLINE int divide_by_zero(int n) { return n / zero; }
NOINLINE int read_out_of_bounds(void) { return *(volatile int *)beyond; }
/* No local variable in memory: it is the engine's stack that overflows. */
NOINLINE int recurse_for_ever(int n) {
	if (zero)
		return n;
	int r = recurse_for_ever(n + 1);
	return r + zero;
}
NOINLINE void reach_unreachable(void) { __builtin_trap(); }

static int trap(const char *how) {
	fflush(stdout);
	if (!strcmp(how, "unreachable"))
		reach_unreachable();
	else if (!strcmp(how, "bounds"))
		return read_out_of_bounds();
	else if (!strcmp(how, "stack"))
		return recurse_for_ever(1);
	else if (!strcmp(how, "divide"))
		return divide_by_zero(7);
	else if (!strcmp(how, "abort"))
		abort();
	return 2;
}

/* What `path#greet` calls instead of _start. */
__attribute__((export_name("greet"))) void greet(void) {
	static const char text[] = "greetings from an export\n";
	write(1, text, sizeof text - 1);
}

int main(int argc, char **argv) {
	const char *verb = argc > 1 ? argv[1] : "hello";
	const char *one = argc > 2 ? argv[2] : "";
	const char *two = argc > 3 ? argv[3] : "";

	if (!strcmp(verb, "hello"))
		puts("hello from probe-c");
	else if (!strcmp(verb, "args"))
		for (int i = 0; i < argc; i++)
			printf("%d=%s\n", i, argv[i]);
	else if (!strcmp(verb, "env"))
		for (char **e = environ; *e; e++)
			puts(*e);
	else if (!strcmp(verb, "exit"))
		return atoi(one);
	else if (!strcmp(verb, "both")) {
		fputs("to stdout\n", stdout);
		fputs("to stderr\n", stderr);
	} else if (!strcmp(verb, "cat"))
		return copy(0, "stdin");
	else if (!strcmp(verb, "pour"))
		return pour(atoi(one), atol(two));
	else if (!strcmp(verb, "tick"))
		return tick(atol(one), *two ? atol(two) : 100);
	else if (!strcmp(verb, "sleep")) {
		puts("sleeping");
		fflush(stdout);
		sleep_ms(atol(one) * 1000);
	} else if (!strcmp(verb, "spin")) {
		puts("spinning");
		fflush(stdout);
		for (;;)
			zero = 0;
	} else if (!strcmp(verb, "allocate"))
		return allocate(atol(one));
	else if (!strcmp(verb, "work")) {
		/* Uses that much memory, and the processor, until it is stopped. */
		allocate(atol(one));
		fflush(stdout);
		for (;;)
			zero = 0;
	}
	else if (!strcmp(verb, "read")) {
		FILE *f = fopen(one, "r");
		return f ? copy(fileno(f), one) : fail(one);
	} else if (!strcmp(verb, "put"))
		return put(one, two);
	else if (!strcmp(verb, "remove"))
		return remove(one) == 0 ? 0 : fail(one);
	else if (!strcmp(verb, "list"))
		return list(one);
	else if (!strcmp(verb, "stat"))
		return show_stat(one);
	else if (!strcmp(verb, "drain"))
		return drain();
	else if (!strcmp(verb, "leak"))
		return open_until_the_end(one);
	else if (!strcmp(verb, "trap"))
		return trap(one);
	else {
		fprintf(stderr, "probe: no verb %s\n", verb);
		return 2;
	}
	return 0;
}
