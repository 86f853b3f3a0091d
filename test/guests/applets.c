/*
 * The commands that containerd's client suite runs in its containers, in one
 * module that looks at its own name as busybox does: a shell with just enough
 * grammar, and what it calls. There is one process: the shell runs its commands
 * in itself.
 *
 * Grammar: LIST = COMMAND (("&&" | ";") COMMAND)*; a COMMAND is words with
 * 'quotes', "quotes" and $(LIST), one "> FILE" behind them, or
 * "while LIST; do LIST; done".
 */
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* WasmEdge's sockets, as far as a listener needs them. */
struct address {
	const uint8_t *bytes;
	uint32_t length;
};
#define SOCKET(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))
SOCKET("sock_open") int sock_open(int family, int type, int *fd);
SOCKET("sock_bind") int sock_bind(int fd, const struct address *, int port);
SOCKET("sock_listen") int sock_listen(int fd, int backlog);
SOCKET("sock_accept") int sock_accept_v1(int fd, int *accepted);
enum { INET4 = 1, STREAM = 2 };

/* Where commands write: stdout, a file, or the buffer of a $(LIST). */
static FILE *out;

static int run(int argc, char **argv);

static int fail(const char *what) {
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 1;
}

static int echo(int argc, char **argv) {
	int newline = !(argc > 1 && strcmp(argv[1], "-n") == 0);
	for (int i = newline ? 1 : 2; i < argc; i++)
		fprintf(out, "%s%s", argv[i], i + 1 < argc ? " " : "");
	if (newline)
		fputc('\n', out);
	return 0;
}

static int copy(int fd, const char *name) {
	static char buf[65536];
	ssize_t n;
	while ((n = read(fd, buf, sizeof buf)) > 0) {
		if (fwrite(buf, 1, n, out) != (size_t)n || fflush(out) != 0)
			return fail("stdout");
	}
	return n < 0 ? fail(name) : 0;
}

static int cat(int argc, char **argv) {
	if (argc == 1)
		return copy(0, "stdin");
	int code = 0;
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "r");
		if (!f) {
			code = fail(argv[i]);
			continue;
		}
		code |= copy(fileno(f), argv[i]);
		fclose(f);
	}
	return code;
}

/* sleep takes seconds, 1d, or inf. */
static int sleep_for(const char *how_long) {
	if (strcmp(how_long, "inf") == 0)
		for (;;)
			sleep(1u << 30);
	char *unit;
	unsigned long n = strtoul(how_long, &unit, 10);
	for (unsigned left = *unit == 'd' ? n * 86400 : n; left > 0;)
		left = sleep(left);
	return 0;
}

/* id -u and id -g: preview 1 has no users, but the kernel tells them in /proc. */
static int id(int argc, char **argv) {
	const char *field = argc > 1 && strcmp(argv[1], "-g") == 0 ? "Gid:" : "Uid:";
	FILE *f = fopen("/proc/self/status", "r");
	if (!f)
		return fail("/proc/self/status");
	char line[256];
	while (fgets(line, sizeof line, f))
		if (strncmp(line, field, 4) == 0)
			fprintf(out, "%ld\n", strtol(line + 4, NULL, 10));
	fclose(f);
	return 0;
}

static int seq(int argc, char **argv) {
	const char *between = "\n";
	if (argc > 2 && strcmp(argv[1], "-s") == 0) {
		between = argv[2];
		argv += 2;
		argc -= 2;
	}
	long last = argc > 1 ? atol(argv[1]) : 0;
	for (long i = 1; i <= last; i++)
		fprintf(out, "%s%ld", i > 1 ? between : "", i);
	fputc('\n', out);
	return 0;
}

/* nc -l -p PORT: accepts one connection. */
static int nc(int argc, char **argv) {
	if (argc != 4 || strcmp(argv[1], "-l") != 0 || strcmp(argv[2], "-p") != 0) {
		fputs("usage: nc -l -p PORT\n", stderr);
		return 2;
	}
	static const uint8_t any[4];
	struct address a = {any, sizeof any};
	int fd, accepted;
	if ((errno = sock_open(INET4, STREAM, &fd)) != 0)
		return fail("open");
	if ((errno = sock_bind(fd, &a, atoi(argv[3]))) != 0)
		return fail("bind");
	if ((errno = sock_listen(fd, 1)) != 0)
		return fail("listen");
	return (errno = sock_accept_v1(fd, &accepted)) != 0 ? fail("accept") : 0;
}

/* test [!] -e|-f|-d FILE. Mode bits cannot be asked for in preview 1. */
static int test(int argc, char **argv) {
	if (argc > 1 && strcmp(argv[1], "!") == 0) {
		int code = test(argc - 1, argv + 1);
		return code > 1 ? code : !code;
	}
	struct stat st;
	if (argc < 3 || argv[1][0] != '-' || !strchr("efd", argv[1][1])) {
		fputs("usage: test [!] -e|-f|-d FILE\n", stderr);
		return 2;
	}
	if (stat(argv[2], &st) != 0)
		return 1;
	return argv[1][1] == 'f' ? !S_ISREG(st.st_mode) : argv[1][1] == 'd' ? !S_ISDIR(st.st_mode) : 0;
}

/* The shell. at is what is still to be read of the script. */

enum { MOST_WORDS = 32 };

struct command {
	char *words[MOST_WORDS + 1];
	int n;
	char *file; /* of "> FILE" */
};

static int list(const char **at, const char *end);

static void blanks(const char **at) {
	while (isspace((unsigned char)**at))
		++*at;
}

static int begins(const char *at, const char *word) {
	size_t n = strlen(word);
	return strncmp(at, word, n) == 0 && !isalnum((unsigned char)at[n]);
}

static int accept(const char **at, const char *token) {
	blanks(at);
	if (strncmp(*at, token, strlen(token)) != 0)
		return 0;
	*at += strlen(token);
	return 1;
}

/* substitute appends the output of a $(LIST), which *at is behind the "$(" of. */
static void substitute(const char **at, FILE *word) {
	char *text;
	size_t length;
	FILE *outer = out;
	out = open_memstream(&text, &length);
	list(at, ")");
	accept(at, ")");
	fclose(out);
	out = outer;
	while (length > 0 && text[length - 1] == '\n')
		length--;
	fwrite(text, 1, length, word);
	free(text);
}

static char *word(const char **at) {
	char *text;
	size_t length;
	FILE *w = open_memstream(&text, &length);
	for (char quote = 0; **at && (quote || !strchr(" \t\n;&>)", **at));) {
		char c = *(*at)++;
		if (c == quote)
			quote = 0;
		else if (!quote && (c == '\'' || c == '"'))
			quote = c;
		else if (quote != '\'' && c == '$' && **at == '(')
			++*at, substitute(at, w);
		else
			fputc(c, w);
	}
	fclose(w);
	return text;
}

static struct command words(const char **at) {
	struct command c = {0};
	for (;;) {
		if (accept(at, ">")) {
			blanks(at);
			c.file = word(at);
			continue;
		}
		blanks(at);
		if (!**at || strchr(";&)", **at) || c.n == MOST_WORDS)
			return c;
		c.words[c.n++] = word(at);
	}
}

static int simple(const char **at) {
	struct command c = words(at);
	if (c.n == 0)
		return 0;
	if (!c.file)
		return run(c.n, c.words);
	FILE *outer = out;
	if (!(out = fopen(c.file, "w"))) {
		out = outer;
		return fail(c.file);
	}
	int code = run(c.n, c.words);
	fclose(out);
	out = outer;
	return code;
}

/* loop runs the body for as long as the condition is true. Both are read again
 * in each round, and the body once more, to find its end, in none. */
static int loop(const char **at) {
	for (const char *begin = *at;;) {
		const char *p = begin;
		int code = list(&p, "do");
		if (!accept(&p, "do"))
			return 2;
		if (code != 0) {
			*at = p + strlen(p); /* nothing of the suite follows a loop */
			return 0;
		}
		list(&p, "done");
	}
}

/* list runs commands up to the end of the script, or to a word that ends it. */
static int list(const char **at, const char *end) {
	int code = 0;
	for (;;) {
		blanks(at);
		if (!**at || **at == ')' || (*end && begins(*at, end)))
			return code;
		if (begins(*at, "while"))
			*at += strlen("while"), code = loop(at);
		else
			code = simple(at);
		if (accept(at, "&&")) {
			if (code != 0)
				return code; /* nothing of the suite follows it */
		} else if (!accept(at, ";")) {
			return code;
		}
	}
}

static int shell(int argc, char **argv) {
	for (int i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], "-c") == 0) {
			const char *script = argv[i + 1];
			return list(&script, "");
		}
	fputs("usage: sh [-e] -c SCRIPT\n", stderr);
	return 2;
}

static int run(int argc, char **argv) {
	char *slash = strrchr(argv[0], '/');
	const char *name = slash ? slash + 1 : argv[0];
	if (strcmp(name, "sh") == 0 || strcmp(name, "bash") == 0)
		return shell(argc, argv);
	if (strcmp(name, "exit") == 0)
		exit(argc > 1 ? atoi(argv[1]) : 0);
	if (strcmp(name, "true") == 0)
		return 0;
	if (strcmp(name, "false") == 0)
		return 1;
	if (strcmp(name, "echo") == 0)
		return echo(argc, argv);
	if (strcmp(name, "cat") == 0)
		return cat(argc, argv);
	if (strcmp(name, "sleep") == 0)
		return sleep_for(argc > 1 ? argv[1] : "");
	if (strcmp(name, "top") == 0)
		return sleep_for("inf");
	if (strcmp(name, "id") == 0)
		return id(argc, argv);
	if (strcmp(name, "seq") == 0)
		return seq(argc, argv);
	if (strcmp(name, "nc") == 0)
		return nc(argc, argv);
	if (strcmp(name, "test") == 0 || strcmp(name, "[") == 0)
		return test(argc, argv);
	if (strcmp(name, "hostname") == 0) {
		char *args[] = {"cat", "/proc/sys/kernel/hostname"};
		return cat(2, args);
	}
	fprintf(stderr, "%s: not found\n", name);
	return 127;
}

int main(int argc, char **argv) {
	out = stdout;
	int code = run(argc, argv);
	return fflush(out) != 0 ? fail("stdout") : code;
}
