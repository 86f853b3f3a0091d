/*
 * Sends or receives a long stream through one host function, for a test that
 * no byte is lost, doubled or moved. What is sent is a sequence of random
 * numbers that the test knows; of what is received, the hash is printed.
 *
 *     stream TARGET CALL BYTES PORT
 *
 * TARGET is stdio, file (/data/file), socket, or poll: a socket that does not
 * block. CALL is read, write, recv, send, recv_v2 or send_v2. Sockets connect to
 * PORT of the loopback. Sizes and numbers of buffers change all the time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

#define IMPORT(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))

struct address {
	void *buf;
	uint32_t size;
};
struct iov {
	void *buf;
	uint32_t size;
};

IMPORT("sock_open") int sock_open(int family, int type, int *fd);
IMPORT("sock_connect") int sock_connect(int fd, struct address *a, int port);
IMPORT("fd_read") int fd_read(int fd, struct iov *v, int n, int *got);
IMPORT("fd_write") int fd_write(int fd, struct iov *v, int n, int *sent);
IMPORT("sock_recv") int sock_recv(int fd, struct iov *v, int n, int flags, int *got, int *ro);
IMPORT("sock_send") int sock_send(int fd, struct iov *v, int n, int flags, int *sent);
IMPORT("sock_recv_v2") int sock_recv_v2(int fd, struct iov *v, int n, int flags, int *got, int *ro);
IMPORT("sock_send_v2") int sock_send_v2(int fd, struct iov *v, int n, int flags, int *sent);

enum { BUFFER = 64 << 10, PARTS = 4, AGAIN = 6 };

static _Noreturn void die(const char *what, int e) {
	fprintf(stderr, "stream: %s: error %d\n", what, e);
	exit(1);
}

static uint64_t next(uint64_t *state) {
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static const char *call;
static int fd, ro;

static int once(struct iov *v, int n, int *done) {
	if (!strcmp(call, "read"))
		return fd_read(fd, v, n, done);
	if (!strcmp(call, "write"))
		return fd_write(fd, v, n, done);
	if (!strcmp(call, "recv"))
		return sock_recv(fd, v, n, 0, done, &ro);
	if (!strcmp(call, "send"))
		return sock_send(fd, v, n, 0, done);
	if (!strcmp(call, "recv_v2"))
		return sock_recv_v2(fd, v, n, 0, done, &ro);
	return sock_send_v2(fd, v, n, 0, done);
}

static int sends(void) { return call[0] == 'w' || call[0] == 's'; }

/* Moves some of the bytes and returns how many. */
static int some(char *b, int size) {
	static uint64_t shapes = 88172645463325252u;
	struct iov v[PARTS];
	int n = 1 + next(&shapes) % PARTS, at = 0, done = 0;
	for (int i = 0; i < n; i++) {
		int part = i == n - 1 ? size - at : (int)(next(&shapes) % (size - at + 1));
		v[i] = (struct iov){b + at, part};
		at += part;
	}
	for (int e; (e = once(v, n, &done)) != 0;) {
		if (e != AGAIN)
			die(call, e);
		__wasi_subscription_t in = {.u.tag = sends() ? __WASI_EVENTTYPE_FD_WRITE : __WASI_EVENTTYPE_FD_READ};
		in.u.u.fd_read.file_descriptor = fd;
		__wasi_event_t out;
		__wasi_size_t fired;
		if ((e = __wasi_poll_oneoff(&in, &out, 1, &fired)) != 0)
			die("poll_oneoff", e);
	}
	return done;
}

/* FNV-1a. */
static uint64_t hash(uint64_t h, const unsigned char *b, int n) {
	while (n-- > 0)
		h = (h ^ *b++) * 1099511628211u;
	return h;
}

static int open_target(const char *target, int port) {
	uint8_t loopback[] = {127, 0, 0, 1};
	struct address a = {loopback, sizeof loopback};
	int s, e;
	if (!strcmp(target, "stdio"))
		return sends();
	if (!strcmp(target, "file"))
		return open("/data/file", sends() ? O_WRONLY | O_CREAT : O_RDONLY, 0600);
	if ((e = sock_open(1, 2, &s)) != 0 || (e = sock_connect(s, &a, port)) != 0)
		die("connect", e);
	if (!strcmp(target, "poll") && fcntl(s, F_SETFL, O_NONBLOCK) != 0)
		die("fcntl", errno);
	return s;
}

int main(int argc, char **argv) {
	static char b[BUFFER];
	if (argc != 5) {
		fprintf(stderr, "usage: stream TARGET CALL BYTES PORT\n");
		return 2;
	}
	call = argv[2];
	long long total = atoll(argv[3]), moved = 0;
	uint64_t numbers = 1, sizes = 7, h = 14695981039346656037u;
	if ((fd = open_target(argv[1], atoi(argv[4]))) < 0)
		die(argv[1], errno);
	for (int n, ready = 0, at = 0; moved < total; moved += n) {
		if (sends() && at == ready) {
			ready = total - moved < BUFFER ? (int)(total - moved) : BUFFER;
			at = 0;
			for (int i = 0; i < BUFFER; i += 8) {
				uint64_t x = next(&numbers);
				memcpy(b + i, &x, 8);
			}
		}
		int most = next(&sizes) % 8 == 0 ? 1 + next(&sizes) % 16 : 1 + next(&sizes) % BUFFER;
		if (sends()) {
			n = some(b + at, most < ready - at ? most : ready - at);
			at += n;
		} else if ((n = some(b, most)) > 0)
			h = hash(h, (unsigned char *)b, n);
		else
			break;
	}
	/* Standard output may be the stream itself. */
	fprintf(stderr, "%lld %016llx\n", moved, (unsigned long long)h);
	return 0;
}
