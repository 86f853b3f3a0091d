/*
 * The client of all measurements of servers: one thread, one epoll(7), a fixed
 * number of connections, each with one request under way at all times. It is in
 * C so that the server, and not its client, is what is measured.
 *
 *     load ADDRESS PORT CONNECTIONS MILLISECONDS SIZE        echo of SIZE bytes
 *     load ADDRESS PORT CONNECTIONS MILLISECONDS http FILE   the request in FILE,
 *                                  answered with a Content-Length and status 2xx
 *
 * It prints the number of answers, the ns that they took together, and the
 * median and the 90th and 99th percentile of an answer's time in ns.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER = 1 << 20, REQUEST = 1 << 16 };

struct connection {
	int fd;
	int64_t sent;
	size_t got;
	char *answer;
};

static char request[REQUEST];
static size_t request_size;
static int http;

static _Noreturn void die(const char *what) {
	fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "unexpected");
	exit(1);
}

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void ask(struct connection *c) {
	c->got = 0;
	c->sent = now();
	if (send(c->fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size)
		die("send");
}

/* Returns the size of the whole answer, or 0 when its head is not there yet. */
static size_t expected(struct connection *c) {
	if (!http)
		return request_size;
	c->answer[c->got] = 0;
	char *end = strstr(c->answer, "\r\n\r\n"), *length = strcasestr(c->answer, "\r\ncontent-length:");
	if (!end)
		return 0;
	errno = 0;
	if (strncmp(c->answer, "HTTP/1.1 2", 10)) {
		fprintf(stderr, "%.*s\n", (int)c->got, c->answer);
		die("status of an answer");
	}
	size_t head = end + 4 - c->answer;
	return length && length < end ? head + strtoul(length + 17, NULL, 10) : head;
}

static int by_size(const void *a, const void *b) {
	int64_t x = *(int64_t *)a, y = *(int64_t *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv) {
	if (argc < 6) {
		fprintf(stderr, "usage: load ADDRESS PORT CONNECTIONS MILLISECONDS SIZE|http FILE\n");
		return 2;
	}
	int n = atoi(argv[3]);
	int64_t duration = atoll(argv[4]) * 1000000;
	http = argc > 6;
	if (http) {
		FILE *f = fopen(argv[6], "r");
		if (!f || (request_size = fread(request, 1, REQUEST, f)) == 0)
			die(argv[6]);
		fclose(f);
	} else
		memset(request, 'x', request_size = atoi(argv[5]));
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
	inet_pton(AF_INET, argv[1], &to.sin_addr);

	int ep = epoll_create1(0), on = 1;
	struct connection *all = calloc(n, sizeof *all);
	size_t capacity = 1 << 20, count = 0;
	int64_t *times = malloc(capacity * sizeof *times);
	for (int i = 0; i < n; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
		all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
		all[i].answer = malloc(ANSWER + 1);
		if (connect(all[i].fd, (void *)&to, sizeof to) || setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
		    epoll_ctl(ep, EPOLL_CTL_ADD, all[i].fd, &e))
			die("connect");
	}
	int64_t began = now(), at = began;
	for (int i = 0; i < n; i++)
		ask(&all[i]);
	while (at - began < duration) {
		struct epoll_event ready[256];
		int m = epoll_wait(ep, ready, 256, 10000);
		if (m <= 0)
			die("no answer in 10 s");
		for (int i = 0; i < m; i++) {
			struct connection *c = ready[i].data.ptr;
			ssize_t got = recv(c->fd, c->answer + c->got, ANSWER - c->got, 0);
			if (got <= 0)
				die("recv");
			c->got += got;
			size_t want = expected(c);
			if (want == 0 || c->got < want)
				continue;
			at = now();
			if (count == capacity)
				times = realloc(times, (capacity *= 2) * sizeof *times);
			times[count++] = at - c->sent;
			ask(c);
		}
	}
	qsort(times, count, sizeof *times, by_size);
	printf("%zu %lld %lld %lld %lld\n", count, (long long)(at - began), (long long)times[count / 2],
	       (long long)times[count * 9 / 10], (long long)times[count * 99 / 100]);
	return 0;
}
