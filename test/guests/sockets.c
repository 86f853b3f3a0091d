/*
 * A guest that checks the sockets of its host against what guests of WasmEdge's
 * libraries rely on: one promise per verb (argv[1]), on the loopback. It
 * prints "ok", or says which expectation failed and exits with 1.
 *
 * Both generations of signatures are imported in this one module: the host has
 * to tell them apart by their types.
 */
#include <errno.h>
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
IMPORT("sock_bind") int sock_bind(int fd, struct address *a, int port);
IMPORT("sock_listen") int sock_listen(int fd, int backlog);
IMPORT("sock_connect") int sock_connect(int fd, struct address *a, int port);
IMPORT("sock_accept") int accept_v1(int fd, int *conn);
IMPORT("sock_accept") int accept_v2(int fd, int flags, int *conn);
IMPORT("sock_recv") int sock_recv(int fd, struct iov *v, int n, int flags, int *got, int *ro);
IMPORT("sock_send") int sock_send(int fd, struct iov *v, int n, int flags, int *sent);
IMPORT("sock_recv_from") int recv_from_v1(int fd, struct iov *v, int n, struct address *a, int flags, int *got, int *ro);
IMPORT("sock_recv_from") int recv_from_v2(int fd, struct iov *v, int n, struct address *a, int flags, int *port, int *got, int *ro);
IMPORT("sock_send_to") int sock_send_to(int fd, struct iov *v, int n, struct address *a, int port, int flags, int *sent);
IMPORT("sock_shutdown") int sock_shutdown(int fd, int how);
IMPORT("sock_getsockopt") int sock_getsockopt(int fd, int level, int name, void *value, intptr_t size);
IMPORT("sock_setsockopt") int sock_setsockopt(int fd, int level, int name, void *value, int size);
IMPORT("sock_getlocaladdr") int local_v1(int fd, struct address *a, int *type, int *port);
IMPORT("sock_getlocaladdr") int local_v2(int fd, struct address *a, int *port);
IMPORT("sock_getpeeraddr") int peer_v1(int fd, struct address *a, int *type, int *port);
IMPORT("sock_getpeeraddr") int peer_v2(int fd, struct address *a, int *port);
IMPORT("sock_getaddrinfo") int sock_getaddrinfo(const char *node, int node_len, const char *service, int service_len,
						void *hints, void *res, int max, int *count);

enum { INET4 = 1, INET6, UNIX };
enum { DGRAM = 1, STREAM };
enum { AGAIN = 6, BADF = 8, CONNREFUSED = 14, INPROGRESS = 26, INVAL = 28, MFILE = 33, NOSYS = 52, NOTCONN = 53, PIPE = 64, NONAME = 84 };
enum { SO_TYPE_ = 1, SO_ERROR_ = 2, SO_RCVTIMEO_ = 11, REUSEADDR = 0 };

#define CHECK(what, got, want)                                                                     \
	do {                                                                                       \
		long long got_ = (got), want_ = (want);                                            \
		if (got_ != want_) {                                                               \
			printf("line %d: %s is %lld, not %lld\n", __LINE__, what, got_, want_);    \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)
#define OK(call) CHECK(#call, call, 0)

static uint8_t loopback[4] = {127, 0, 0, 1};
static struct address any_of_loopback(void) { return (struct address){loopback, 4}; }

static int open_socket(int type) {
	int fd;
	OK(sock_open(INET4, type, &fd));
	return fd;
}

static void nonblocking(int fd, int on) { OK(__wasi_fd_fdstat_set_flags(fd, on ? __WASI_FDFLAGS_NONBLOCK : 0)); }

static int local_port(int fd) {
	uint8_t buf[128];
	int port = 0;
	OK(local_v2(fd, &(struct address){buf, sizeof buf}, &port));
	return port;
}

static int listener(int *port) {
	int fd = open_socket(STREAM), on = 1;
	OK(sock_setsockopt(fd, 0, REUSEADDR, &on, sizeof on));
	struct address a = any_of_loopback();
	OK(sock_bind(fd, &a, 0));
	OK(sock_listen(fd, 128));
	*port = local_port(fd);
	return fd;
}

static int connect_to(int port) {
	int fd = open_socket(STREAM);
	struct address a = any_of_loopback();
	OK(sock_connect(fd, &a, port));
	return fd;
}

/* A TCP connection; the ends block. */
static void connection(int *client, int *server) {
	int port, l = listener(&port);
	*client = connect_to(port);
	OK(accept_v2(l, 0, server));
	close(l);
}

static int send_text(int fd, const char *text) {
	int sent = 0;
	struct iov v = {(void *)text, strlen(text)};
	int e = sock_send(fd, &v, 1, 0, &sent);
	return e ? -e : sent;
}

static int receive(int fd, char *buf, int size) {
	int got = 0, ro = 0;
	struct iov v = {buf, size};
	int e = sock_recv(fd, &v, 1, 0, &got, &ro);
	return e ? -e : got;
}

static int pending_error(int fd) {
	int value = -1;
	uint32_t size = sizeof value;
	OK(sock_getsockopt(fd, 0, SO_ERROR_, &value, (intptr_t)&size));
	CHECK("size of SO_ERROR", size, 4);
	return value;
}

/* Subscriptions to reading or writing, and a relative time. */
static __wasi_subscription_t on(int kind, int fd, uint64_t tag) {
	__wasi_subscription_t s = {.userdata = tag};
	s.u.tag = kind;
	s.u.u.fd_read.file_descriptor = fd;
	return s;
}
static __wasi_subscription_t after(uint64_t ms, uint64_t tag) {
	__wasi_subscription_t s = {.userdata = tag};
	s.u.tag = __WASI_EVENTTYPE_CLOCK;
	s.u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
	s.u.u.clock.timeout = ms * 1000000;
	return s;
}
#define READ(fd, tag) on(__WASI_EVENTTYPE_FD_READ, fd, tag)
#define WRITE(fd, tag) on(__WASI_EVENTTYPE_FD_WRITE, fd, tag)

static int poll_for(__wasi_subscription_t *in, int n, __wasi_event_t *out) {
	__wasi_size_t fired = 0;
	OK(__wasi_poll_oneoff(in, out, n, &fired));
	return fired;
}

static void both_accepts(void) {
	int port, l = listener(&port), a, b;
	int c1 = connect_to(port), c2 = connect_to(port);
	OK(accept_v1(l, &a));
	OK(accept_v2(l, __WASI_FDFLAGS_NONBLOCK, &b));
	char buf[8];
	/* The new kind of accept honours its flag, the old one's connection blocks. */
	CHECK("recv on a non-blocking connection", receive(b, buf, sizeof buf), -AGAIN);
	CHECK("send", send_text(c1, "hi"), 2);
	CHECK("recv on a blocking connection", receive(a, buf, sizeof buf), 2);
	CHECK("other flags", accept_v2(l, __WASI_FDFLAGS_APPEND, &b), INVAL);
	close(c2);
}

static void addresses(void) {
	int c, s, type = 0, port = 0;
	connection(&c, &s);
	uint8_t buf[128];
	memset(buf, 0xee, sizeof buf);
	OK(local_v1(c, &(struct address){buf, 16}, &type, &port));
	CHECK("type", type, 4);
	CHECK("address", memcmp(buf, loopback, 4), 0);
	int peer = 0;
	OK(peer_v1(s, &(struct address){buf, 16}, &type, &peer));
	CHECK("port of the peer", peer, port);
	memset(buf, 0xee, sizeof buf);
	OK(peer_v2(s, &(struct address){buf, 128}, &peer));
	CHECK("family", buf[0] | buf[1] << 8, INET4);
	CHECK("address", memcmp(buf + 2, loopback, 4), 0);
	CHECK("another size", local_v2(c, &(struct address){buf, 16}, &port), INVAL);
	int unbound = open_socket(STREAM);
	OK(local_v1(unbound, &(struct address){buf, 16}, &type, &port));
	CHECK("port of an unbound socket", port, 0);
	CHECK("peer of an unconnected socket", peer_v2(unbound, &(struct address){buf, 128}, &port), NOTCONN);
}

static void nonblocking_connect(void) {
	int port, l = listener(&port);
	struct address a = any_of_loopback();
	__wasi_event_t ev[4];
	int fd = open_socket(STREAM);
	nonblocking(fd, 1);
	int e = sock_connect(fd, &a, port);
	CHECK("connect is in progress or done", e == INPROGRESS || e == 0, 1);
	CHECK("events", poll_for((__wasi_subscription_t[]){WRITE(fd, 1)}, 1, ev), 1);
	CHECK("hang-up", ev[0].fd_readwrite.flags, 0);
	CHECK("SO_ERROR", pending_error(fd), 0);
	close(l);

	fd = open_socket(STREAM);
	nonblocking(fd, 1);
	if ((e = sock_connect(fd, &a, port)) == INPROGRESS) {
		CHECK("events", poll_for((__wasi_subscription_t[]){READ(fd, 1), WRITE(fd, 2)}, 2, ev), 2);
		CHECK("error of the event", ev[1].error, 0);
		CHECK("hang-up", ev[1].fd_readwrite.flags, __WASI_EVENTRWFLAGS_FD_READWRITE_HANGUP);
		CHECK("SO_ERROR", pending_error(fd), CONNREFUSED);
		CHECK("SO_ERROR once more", pending_error(fd), 0);
	} else
		CHECK("connect", e, CONNREFUSED);
}

static void options(void) {
	int stream = open_socket(STREAM), dgram = open_socket(DGRAM), value = 0;
	OK(sock_getsockopt(stream, 0, SO_TYPE_, &value, 4)); /* the length itself */
	CHECK("SO_TYPE", value, STREAM);
	uint32_t size = 4;
	OK(sock_getsockopt(dgram, 0, SO_TYPE_, &value, (intptr_t)&size)); /* a pointer to it */
	CHECK("SO_TYPE", value, DGRAM);
	CHECK("an unknown option", sock_getsockopt(stream, 0, 99, &value, 4), INVAL);
	int fd;
	CHECK("AF_UNIX", sock_open(UNIX, STREAM, &fd), NOSYS);
	CHECK("no type", sock_open(INET4, 0, &fd), INVAL);
}

static void half_close(void) {
	int c, s;
	connection(&c, &s);
	char buf[16];
	OK(sock_shutdown(c, 2));
	__wasi_event_t ev[2];
	CHECK("events", poll_for((__wasi_subscription_t[]){READ(s, 1)}, 1, ev), 1);
	CHECK("hang-up", ev[0].fd_readwrite.flags, 0);
	CHECK("recv at the end", receive(s, buf, sizeof buf), 0);
	CHECK("send after it", send_text(s, "still"), 5);
	CHECK("recv", receive(c, buf, sizeof buf), 5);
}

static void polling(void) {
	int port, l = listener(&port), c, s;
	connection(&c, &s);
	__wasi_event_t ev[8];
	__wasi_size_t n = 0;
	CHECK("no subscriptions", __wasi_poll_oneoff((__wasi_subscription_t[1]){}, ev, 0, &n), INVAL);
	CHECK("a clock alone", poll_for((__wasi_subscription_t[]){after(0, 7)}, 1, ev), 1);
	CHECK("its tag", ev[0].userdata, 7);
	CHECK("a clock and what is ready", poll_for((__wasi_subscription_t[]){after(0, 1), WRITE(c, 2), READ(c, 3)}, 3, ev), 2);
	CHECK("a closed descriptor", poll_for((__wasi_subscription_t[]){READ(999, 5), after(10000, 6)}, 2, ev), 1);
	CHECK("its error", ev[0].error, BADF);
	CHECK("a listener to write", poll_for((__wasi_subscription_t[]){WRITE(l, 1), READ(l, 2), after(20, 3)}, 3, ev), 1);
	CHECK("is no event", ev[0].userdata, 3);
	CHECK("send", send_text(s, "x"), 1);
	CHECK("one descriptor often", poll_for((__wasi_subscription_t[]){READ(c, 1), READ(c, 1), WRITE(c, 2), READ(c, 3)}, 4, ev), 4);
}

/* What a mio of 2022 does: reading and writing at every poll. */
static void damping(void) {
	int c, s, polls = 0;
	connection(&c, &s);
	__wasi_timestamp_t began, now;
	__wasi_event_t ev[3];
	OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &began));
	do {
		poll_for((__wasi_subscription_t[]){READ(c, 1), WRITE(c, 2), after(5000, 3)}, 3, ev);
		polls++;
		OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &now));
	} while (now - began < 2000000000ull);
	CHECK("less than 500 polls in two seconds", polls < 500, 1);
	/* What arrives is told at once all the same. */
	CHECK("send", send_text(s, "x"), 1);
	int n = poll_for((__wasi_subscription_t[]){READ(c, 1), WRITE(c, 2)}, 2, ev);
	CHECK("the first event is the reading", n > 0 && ev[0].userdata == 1, 1);
}

static void plain_io(void) {
	int c, s;
	connection(&c, &s);
	char buf[16];
	CHECK("write", write(c, "hello", 5), 5);
	CHECK("read", read(s, buf, sizeof buf), 5);
	CHECK("seek", lseek(s, 0, SEEK_CUR), -1);
	CHECK("its error", errno, ESPIPE);
	__wasi_fdstat_t st;
	OK(__wasi_fd_fdstat_get(c, &st));
	CHECK("type", st.fs_filetype, __WASI_FILETYPE_SOCKET_STREAM);
	OK(sock_shutdown(s, 3));
	close(s);
	int e = 0;
	for (int i = 0; i < 100 && (e = send_text(c, "x")) >= 0; i++)
		;
	CHECK("a send to nobody fails, and the guest lives", e == -PIPE || e == -15, 1);
}

static void receive_timeout(void) {
	int c, s;
	connection(&c, &s);
	int64_t tv[2] = {0, 50000};
	OK(sock_setsockopt(c, 0, SO_RCVTIMEO_, tv, sizeof tv));
	char buf[4];
	CHECK("recv in vain", receive(c, buf, sizeof buf), -AGAIN);
	(void)s;
}

static void datagrams(void) {
	int a = open_socket(DGRAM), b = open_socket(DGRAM), n = 0, ro = 0, port = 0;
	struct address at = any_of_loopback();
	OK(sock_bind(a, &at, 0));
	OK(sock_bind(b, &at, 0));
	int pa = local_port(a), pb = local_port(b);
	struct iov out = {"datagram", 8};
	uint8_t buf[128], data[16];
	struct iov in = {data, sizeof data};
	OK(sock_send_to(a, &out, 1, &at, pb, 0, &n));
	memset(buf, 0, sizeof buf);
	OK(recv_from_v2(b, &in, 1, &(struct address){buf, 128}, 0, &port, &n, &ro));
	CHECK("size", n, 8);
	CHECK("port, in the guest's order", port, pa);
	CHECK("family", buf[0] | buf[1] << 8, INET4);
	CHECK("address", memcmp(buf + 2, loopback, 4), 0);
	OK(sock_send_to(a, &out, 1, &at, pb, 0, &n));
	memset(buf, 0, sizeof buf);
	OK(recv_from_v1(b, &in, 1, &(struct address){buf, 16}, 0, &n, &ro));
	CHECK("the old layout's family", buf[0] | buf[1] << 8, 2);
	CHECK("its port", buf[2] | buf[3] << 8, pa);
	CHECK("its address", memcmp(buf + 4, loopback, 4), 0);
	OK(sock_send_to(a, &out, 1, &at, pb, 0, &n));
	in.size = 4;
	OK(recv_from_v2(b, &in, 1, &(struct address){buf, 128}, 0, &port, &n, &ro));
	CHECK("the rest is cut off and told", n == 4 && (ro & 1), 1);
}

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

static int resolve(const char *name, uint8_t *ip) {
	uint8_t data[26];
	memset(data, 0xee, sizeof data);
	struct sockaddr sa = {0, 14, data};
	struct addrinfo res = {.addr = &sa, .canonname = (char *)0x7ffffff0}, *list = &res, hints = {.family = INET4, .type = STREAM};
	int count = 0;
	/* Rust's crate counts the NUL. */
	int e = sock_getaddrinfo(name, strlen(name) + 1, "80", 3, &hints, &list, 1, &count);
	if (e)
		return e;
	CHECK("one address", count, 1);
	CHECK("port", data[0] << 8 | data[1], 80);
	CHECK("nothing behind 14 bytes", data[14], 0xee);
	CHECK("length of the canonical name", res.canonname_len, 0);
	memcpy(ip, data + 2, 4);
	return 0;
}

static void names(const char *known, const char *short_name) {
	uint8_t ip[4];
	OK(resolve("localhost", ip));
	CHECK("localhost", memcmp(ip, loopback, 4), 0);
	OK(resolve(known, ip));
	CHECK("a name in /etc/hosts", ip[0], 192);
	if (*short_name) {
		OK(resolve(short_name, ip));
		CHECK("a name in a search domain", ip[0], 198);
		CHECK("an unknown name", resolve("nobody.invalid", ip), NONAME);
	}
}

/* Names a server of its own for the lookups that it leaves to its host. */
static void other_server(const char *server, const char *name) {
	FILE *f = fopen("/etc/resolv.conf", "w");
	if (!f || fprintf(f, "nameserver %s\n", server) < 0 || fclose(f)) {
		perror("resolv.conf");
		exit(2);
	}
	uint8_t ip[4];
	puts(resolve(name, ip) ? "asks as before" : "asks it");
}

static void reset_peer(void) {
	int port, l = listener(&port), s, type, p;
	int c = connect_to(port);
	int64_t linger = 1; /* on, for 0 seconds: closing resets */
	OK(sock_setsockopt(c, 0, 9, &linger, 8));
	int mine = local_port(c);
	close(c);
	OK(accept_v1(l, &s));
	uint8_t buf[16];
	OK(peer_v1(s, &(struct address){buf, 16}, &type, &p));
	CHECK("port of a peer that has gone", p, mine);
	OK(sock_shutdown(l, 3));
	close(l);
}

static void many(void) {
	int port, l = listener(&port), first = -1;
	for (int i = 0; i < 10000; i++) {
		int c = connect_to(port), s;
		OK(accept_v1(l, &s));
		if (first < 0)
			first = c;
		CHECK("the descriptor's number", c, first);
		int64_t linger = 1; /* no port stays behind */
		OK(sock_setsockopt(c, 0, 9, &linger, 8));
		close(c);
		close(s);
	}
}

static void thousand(void) {
	static int c[1000], s[1000];
	int port, l = listener(&port);
	for (int i = 0; i < 1000; i++) {
		c[i] = connect_to(port);
		OK(accept_v1(l, &s[i]));
	}
	static __wasi_subscription_t in[1000];
	static __wasi_event_t out[1000];
	for (int i = 0; i < 1000; i++) {
		CHECK("send", send_text(c[i], "x"), 1);
		in[i] = READ(s[i], i);
	}
	CHECK("events", poll_for(in, 1000, out), 1000);
}

/* Connections up to the limit of descriptors, and on when there is room again. */
static void limit(void) {
	int port, l = listener(&port), fd, last = -1, conn, e;
	int first = connect_to(port);
	while ((e = sock_open(INET4, STREAM, &fd)) == 0)
		last = fd;
	CHECK("the error of one socket too many", e, MFILE);
	CHECK("that of one connection too many", accept_v1(l, &conn), MFILE);
	close(last);
	OK(accept_v2(l, 0, &conn));
	CHECK("send", send_text(first, "x"), 1);
	char buf[2];
	CHECK("recv", receive(conn, buf, sizeof buf), 1);
	CHECK("the same once more", sock_open(INET4, STREAM, &fd), MFILE);
}

/* Blocks for ever in one call, to be killed there. */
static void block(const char *in) {
	int c, s, port, fd;
	char buf[4];
	__wasi_event_t ev[1];
	connection(&c, &s);
	puts("blocks");
	fflush(stdout);
	if (!strcmp(in, "accept"))
		accept_v1(listener(&port), &fd);
	else if (!strcmp(in, "connect")) {
		/* To a listener whose queue is full: it does not answer any more. */
		int l = listener(&port);
		OK(sock_listen(l, 0));
		for (;;)
			connect_to(port);
	} else if (!strcmp(in, "recv"))
		receive(c, buf, 4);
	else if (!strcmp(in, "poll"))
		poll_for((__wasi_subscription_t[]){READ(c, 1)}, 1, ev);
	else if (!strcmp(in, "send"))
		while (send_text(c, "0123456789abcdef0123456789abcdef") > 0)
			;
	else if (!strcmp(in, "getaddrinfo")) {
		uint8_t ip[4];
		resolve("nobody.invalid", ip);
	}
}

int main(int argc, char **argv) {
	const char *verb = argc > 1 ? argv[1] : "", *one = argc > 2 ? argv[2] : "", *two = argc > 3 ? argv[3] : "";
	struct {
		const char *verb;
		void (*run)(void);
	} all[] = {
		{"both-accepts", both_accepts}, {"addresses", addresses}, {"connect", nonblocking_connect},
		{"options", options}, {"half-close", half_close}, {"poll", polling}, {"damping", damping},
		{"plain-io", plain_io}, {"receive-timeout", receive_timeout}, {"datagrams", datagrams},
		{"reset-peer", reset_peer}, {"many", many}, {"thousand", thousand}, {"limit", limit},
	};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		if (!strcmp(verb, all[i].verb)) {
			all[i].run();
			puts("ok");
			return 0;
		}
	if (!strcmp(verb, "names")) {
		names(one, two);
		puts("ok");
		return 0;
	}
	if (!strcmp(verb, "other-server")) {
		other_server(one, two);
		return 0;
	}
	if (!strcmp(verb, "block")) {
		block(one);
		return 0;
	}
	fprintf(stderr, "sockets: no verb %s\n", verb);
	return 2;
}
