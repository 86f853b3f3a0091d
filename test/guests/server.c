/*
 * A server with one thread and one poll(2), for measurements: the same source
 * is compiled for Wasm and natively.
 *
 *     server echo PORT    answers what it gets
 *     server http PORT    answers each request without a body with a small page
 *
 * It listens on the loopback, and prints a line when it does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 1024, BUFFER = 16384, BACKLOG = 1024 };

static int die(const char *what) {
	fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* wasi-libc has no socket, bind and listen; those of WasmEdge are imported. */
#ifdef __wasi__
#define IMPORT(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))
struct address {
	void *buf;
	uint32_t size;
};
IMPORT("sock_open") int sock_open(int family, int type, int *fd);
IMPORT("sock_bind") int sock_bind(int fd, struct address *a, int port);
IMPORT("sock_listen") int sock_listen(int fd, int backlog);
IMPORT("sock_setsockopt") int sock_setsockopt(int fd, int level, int name, void *value, int size);
#include <fcntl.h>

static int listen_on(int port) {
	enum { INET4 = 1, STREAM = 2, REUSEADDR = 0 };
	uint8_t loopback[] = {127, 0, 0, 1};
	struct address a = {loopback, sizeof loopback};
	int fd, on = 1;
	if ((errno = sock_open(INET4, STREAM, &fd)) || (errno = sock_setsockopt(fd, 0, REUSEADDR, &on, sizeof on)) ||
	    (errno = sock_bind(fd, &a, port)) || (errno = sock_listen(fd, BACKLOG)) || fcntl(fd, F_SETFL, O_NONBLOCK))
		die("listen");
	return fd;
}
#else
#include <netinet/in.h>
#include <netinet/tcp.h>

static int listen_on(int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
	/* The Wasm host sets TCP_NODELAY on every socket; connections inherit it. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
	    bind(fd, (void *)&a, sizeof a) || listen(fd, BACKLOG))
		die("listen");
	return fd;
}
#endif

static const char page[] =
	"HTTP/1.1 200 OK\r\n"
	"Content-Type: text/plain\r\n"
	"Content-Length: 14\r\n"
	"\r\n"
	"Hello, world!\n";

static struct pollfd fds[MOST + 1];
static int open_fds = 1;
/* How much of the blank line that ends a request a connection has had. */
static unsigned char matched[MOST + 1];

/* Returns whether the connection lives. A client of a measurement reads what it
 * is sent, so a full socket is an error. */
static int send_all(int fd, const char *b, ssize_t n) { return send(fd, b, n, 0) == n; }

static int echo(int i) {
	static char b[BUFFER];
	ssize_t n = recv(fds[i].fd, b, sizeof b, 0);
	return n > 0 ? send_all(fds[i].fd, b, n) : n < 0 && errno == EAGAIN;
}

static int http(int i) {
	static char b[BUFFER];
	ssize_t n = recv(fds[i].fd, b, sizeof b, 0);
	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	for (ssize_t k = 0; k < n; k++) {
		if (b[k] == "\r\n\r\n"[matched[i]])
			matched[i]++;
		else
			matched[i] = b[k] == '\r';
		if (matched[i] == 4) {
			matched[i] = 0;
			if (!send_all(fds[i].fd, page, sizeof page - 1))
				return 0;
		}
	}
	return 1;
}

static void take_connections(void) {
	for (int fd; open_fds <= MOST && (fd = accept4(fds[0].fd, NULL, NULL, SOCK_NONBLOCK)) >= 0; open_fds++) {
		fds[open_fds] = (struct pollfd){.fd = fd, .events = POLLIN};
		matched[open_fds] = 0;
	}
}

int main(int argc, char **argv) {
	if (argc != 3) {
		fprintf(stderr, "usage: server echo|http PORT\n");
		return 2;
	}
	int (*answer)(int) = strcmp(argv[1], "http") ? echo : http;
	fds[0] = (struct pollfd){.fd = listen_on(atoi(argv[2])), .events = POLLIN};
	puts("listening");
	fflush(stdout);
	for (;;) {
		if (poll(fds, open_fds, -1) < 0)
			die("poll");
		/* From the end, so that one that is closed is replaced by one that is done. */
		for (int i = open_fds - 1; i > 0; i--)
			if (fds[i].revents && !answer(i)) {
				close(fds[i].fd);
				fds[i] = fds[--open_fds];
				matched[i] = matched[open_fds];
			}
		if (fds[0].revents)
			take_connections();
	}
}
