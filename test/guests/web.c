/*
 * An HTTP service with one behaviour per path, and a client, for Pods. It is
 * compiled twice: as a guest on WasmEdge's sockets and as a native program.
 *
 *   web serve PORT        GET /, /healthz, /break, /fix, /env/NAME, /file/PATH, /log/TEXT, /exit/CODE, /spin/MS,
 *                         /call/HOST:PORT/PATH
 *   web get HOST:PORT/PATH     prints the body; exits with 1 unless the status is 200
 *   web until HOST:PORT/PATH   tries again until it is
 *   web pause                  native only: waits for ever and lets go of orphans, as the first process of a Pod
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __wasi__
#define KIND "wasm"
#define IMPORT(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))
struct address {
	void *buf;
	uint32_t size;
};
struct sockaddr {
	uint8_t family;
	uint32_t size;
	uint8_t *data;
};
struct addrinfo {
	uint16_t flags;
	uint8_t family, type;
	uint32_t protocol, addrlen;
	struct sockaddr *addr;
	char *canonname;
	uint32_t canonname_len;
	struct addrinfo *next;
};
IMPORT("sock_open") int sock_open(int family, int type, int *fd);
IMPORT("sock_bind") int sock_bind(int fd, struct address *a, int port);
IMPORT("sock_listen") int sock_listen(int fd, int backlog);
IMPORT("sock_connect") int sock_connect(int fd, struct address *a, int port);
IMPORT("sock_accept") int sock_accept_v2(int fd, int flags, int *conn);
IMPORT("sock_setsockopt") int sock_setsockopt(int fd, int level, int name, void *value, int size);
IMPORT("sock_getaddrinfo") int sock_getaddrinfo(const char *node, int node_len, const char *service, int service_len,
						void *hints, void *res, int max, int *count);
enum { INET4 = 1, STREAM = 2, REUSEADDR = 0 };

static int listen_on(int port) {
	uint8_t any[4] = {0};
	int fd, on = 1;
	if ((errno = sock_open(INET4, STREAM, &fd)) || (errno = sock_setsockopt(fd, 0, REUSEADDR, &on, sizeof on)) ||
	    (errno = sock_bind(fd, &(struct address){any, 4}, port)) || (errno = sock_listen(fd, 128)))
		return -1;
	return fd;
}

static int accept_one(int listener) {
	int fd;
	return (errno = sock_accept_v2(listener, 0, &fd)) ? -1 : fd;
}

static int connect_to(const char *host, const char *port) {
	uint8_t data[26];
	struct sockaddr sa = {0, sizeof data, data};
	struct addrinfo res = {.addr = &sa}, *list = &res, hints = {.family = INET4, .type = STREAM};
	int count = 0, fd;
	if ((errno = sock_getaddrinfo(host, strlen(host), port, strlen(port), &hints, &list, 1, &count)))
		return -1;
	if ((errno = sock_open(INET4, STREAM, &fd)))
		return -1;
	if ((errno = sock_connect(fd, &(struct address){data + 2, 4}, atoi(port)))) {
		close(fd);
		return -1;
	}
	return fd;
}
#else
#define KIND "linux"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

static int listen_on(int port) {
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof any) != 0 || listen(fd, 128) != 0)
		return -1;
	return fd;
}

static int accept_one(int listener) { return accept(listener, NULL, NULL); }

/* Addresses only: a static program has no resolver of names. */
static int connect_to(const char *host, const char *port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	if (inet_pton(AF_INET, strcmp(host, "localhost") ? host : "127.0.0.1", &a.sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}
#endif

enum { SIZE = 64 << 10 };

static int write_all(int fd, const char *text, size_t n) {
	for (ssize_t w; n > 0; text += w, n -= w)
		if ((w = write(fd, text, n)) <= 0)
			return -1;
	return 0;
}

/* Reads until the end, or until the text is in it. Returns how much. */
static int read_until(int fd, const char *text, char *buf, int size) {
	int n = 0;
	for (ssize_t r; n < size - 1 && (r = read(fd, buf + n, size - 1 - n)) > 0;) {
		n += r;
		buf[n] = 0;
		if (text && strstr(buf, text))
			break;
	}
	buf[n] = 0;
	return n;
}

/* Asks for HOST:PORT/PATH. Returns the status, or 0, and the body or what failed. */
static int get(const char *url, char *body, int size) {
	char host[256], port[8], path[1024] = "", request[1500];
	static char answer[SIZE];
	if (sscanf(url, "%255[^:]:%7[0-9]/%1023s", host, port, path) < 2) {
		snprintf(body, size, "%s is not HOST:PORT/PATH\n", url);
		return 0;
	}
	int fd = connect_to(host, port);
	if (fd < 0) {
		snprintf(body, size, "%s: %s\n", url, strerror(errno));
		return 0;
	}
	int n = snprintf(request, sizeof request, "GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n", path, host), status = 0;
	if (write_all(fd, request, n) == 0 && read_until(fd, NULL, answer, sizeof answer) > 0)
		sscanf(answer, "HTTP/%*s %d", &status);
	close(fd);
	char *end = strstr(answer, "\r\n\r\n");
	snprintf(body, size, "%s", status && end ? end + 4 : "no answer\n");
	return status;
}

static void spin(long ms) {
	struct timespec now, end;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += ms / 1000;
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec + ms % 1000 * 1000000));
}

static int healthy = 1;

/* Does what the path says. Returns the status and the body. */
static int handle(const char *path, char *body, int size) {
	const char *name = getenv("POD_NAME"), *v;
	if (!strcmp(path, "/"))
		snprintf(body, size, "hello from %s (%s)\n", name ? name : "web", KIND);
	else if (!strcmp(path, "/healthz"))
		return snprintf(body, size, "%s\n", healthy ? "ok" : "broken"), healthy ? 200 : 503;
	else if (!strcmp(path, "/break") || !strcmp(path, "/fix"))
		healthy = path[1] == 'f';
	else if (!strncmp(path, "/env/", 5))
		snprintf(body, size, "%s\n", (v = getenv(path + 5)) ? v : "");
	else if (!strncmp(path, "/log/", 5))
		puts(path + 5);
	else if (!strncmp(path, "/spin/", 6))
		spin(atol(path + 6));
	else if (!strncmp(path, "/call/", 6)) {
		int status = get(path + 6, body, size);
		return status ? status : 502;
	} else if (!strncmp(path, "/file/", 6)) {
		FILE *f = fopen(path + 5, "r");
		if (!f)
			return snprintf(body, size, "%s: %s\n", path + 5, strerror(errno)), 404;
		body[fread(body, 1, size - 1, f)] = 0;
		fclose(f);
	} else if (!strncmp(path, "/exit/", 6)) {
		printf("exits with %s\n", path + 6);
		exit(atoi(path + 6));
	} else
		return snprintf(body, size, "no path %s\n", path), 404;
	return 200;
}

static void answer(int fd) {
	static char request[SIZE], body[SIZE];
	char path[1024], head[128];
	body[0] = 0;
	if (read_until(fd, "\r\n\r\n", request, sizeof request) > 0 && sscanf(request, "%*s %1023s", path) == 1) {
		int status = handle(path, body, sizeof body);
		int n = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
				 status == 200 ? "OK" : "Failed", strlen(body));
		if (write_all(fd, head, n) == 0)
			write_all(fd, body, strlen(body));
	}
	close(fd);
	fflush(stdout);
}

static int serve(int port) {
	int listener = listen_on(port);
	if (listener < 0) {
		fprintf(stderr, "listen on %d: %s\n", port, strerror(errno));
		return 1;
	}
	printf("serves on %d\n", port);
	fflush(stdout);
	const char *signals = getenv("WASI_SIGNAL_FD");
	struct pollfd fds[2] = {{.fd = listener, .events = POLLIN}, {.fd = signals ? atoi(signals) : -1, .events = POLLIN}};
	while (poll(fds, signals ? 2 : 1, -1) > 0) {
		if (signals && fds[1].revents) {
			char line[32];
			ssize_t n = read(fds[1].fd, line, sizeof line);
			printf("drains on %.*s", n > 0 ? (int)n : 0, line);
			return 0;
		}
		int fd = accept_one(listener);
		if (fd >= 0)
			answer(fd);
	}
	perror("poll");
	return 1;
}

#ifndef __wasi__
static void end(int sig) { _exit(128 + sig); }
#endif

int main(int argc, char **argv) {
	static char body[SIZE];
#ifndef __wasi__
	/* As pid 1 it would not see them. */
	signal(SIGTERM, end);
	signal(SIGINT, end);
	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && !strcmp(argv[1], "pause")) {
		signal(SIGCHLD, SIG_IGN);
		for (;;)
			pause();
	}
#endif
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(atoi(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "get")) {
		int status = get(argv[2], body, sizeof body);
		fputs(body, stdout);
		return status != 200;
	}
	if (argc == 3 && !strcmp(argv[1], "until")) {
		while (get(argv[2], body, sizeof body) != 200)
			nanosleep(&(struct timespec){0, 100000000}, NULL);
		fputs(body, stdout);
		return 0;
	}
	fputs("web: serve PORT, get URL or until URL\n", stderr);
	return 2;
}
