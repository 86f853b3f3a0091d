/*
 * Work for a processor that asks the system for nothing, for measurements: the
 * same source is compiled for Wasm and natively.
 *
 *     kernels sha256|matrix|sieve|json PASSES
 *
 * It prints how many ns each pass took. The result of a pass is compared with
 * that of the first, so that no compiler leaves the work out.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* SHA-256 of 256 KiB (FIPS 180-4): 32-bit rotations and additions. */
static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static uint32_t fractions[64];

/* The first 32 bits of the fractional parts of the cube roots of the primes. */
static void make_fractions(void) {
	for (int n = 0, p = 2; n < 64; p++) {
		int prime = 1;
		for (int d = 2; d * d <= p; d++)
			prime &= p % d != 0;
		if (!prime)
			continue;
		double root = 1; /* by Newton's method */
		for (int i = 0; i < 60; i++)
			root -= (root * root * root - p) / (3 * root * root);
		fractions[n++] = (uint32_t)((root - (int)root) * 4294967296.0);
	}
}

static uint64_t sha256(void) {
	enum { SIZE = 256 << 10 };
	static uint8_t data[SIZE];
	uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}, w[64];
	if (!fractions[0]) {
		make_fractions();
		for (int i = 0; i < SIZE; i++)
			data[i] = i * 7;
	}
	for (uint8_t *block = data; block < data + SIZE; block += 64) {
		uint32_t v[8];
		for (int i = 0; i < 16; i++)
			w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
		for (int i = 16; i < 64; i++)
			w[i] = w[i - 16] + (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
			       (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
		memcpy(v, h, sizeof v);
		for (int i = 0; i < 64; i++) {
			uint32_t a = v[7] + (rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + fractions[i] + w[i];
			uint32_t b = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
			memmove(v + 1, v, 7 * sizeof *v);
			v[4] += a;
			v[0] = a + b;
		}
		for (int i = 0; i < 8; i++)
			h[i] += v[i];
	}
	return (uint64_t)h[0] << 32 | h[7];
}

/* The product of two matrices of 160 x 160 doubles. */
static uint64_t matrix(void) {
	enum { N = 160 };
	static double a[N][N], b[N][N], c[N][N];
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			a[i][j] = i + 0.5 * j;
			b[i][j] = i - 0.25 * j;
			c[i][j] = 0;
		}
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++)
			for (int j = 0; j < N; j++)
				c[i][j] += a[i][k] * b[k][j];
	double sum = 0;
	for (int i = 0; i < N; i++)
		sum += c[i][N - 1 - i];
	return (uint64_t)(int64_t)sum;
}

/* The primes below 2,000,000: writes all over 2 MB. */
static uint64_t sieve(void) {
	enum { N = 2000000 };
	static uint8_t composite[N];
	uint64_t count = 0;
	memset(composite, 0, N);
	for (int i = 2; i < N; i++) {
		if (composite[i])
			continue;
		count++;
		for (int64_t j = (int64_t)i * i; j < N; j += i)
			composite[j] = 1;
	}
	return count;
}

/* JSON of 2,000 records, written and parsed: branches, calls, formatting. */
static const char *at;
static uint64_t seen;

static void space(void) {
	while (*at == ' ' || *at == '\n')
		at++;
}

static void value(void) {
	space();
	if (*at == '{' || *at == '[') {
		char end = *at++ == '{' ? '}' : ']';
		for (space(); *at != end; space()) {
			value();
			space();
			if (*at == ':' || *at == ',')
				at++;
		}
		at++;
		seen = seen * 31 + end;
	} else if (*at == '"') {
		for (at++; *at != '"'; at++) {
			if (*at == '\\')
				at++;
			seen = seen * 31 + (uint8_t)*at;
		}
		at++;
	} else if (*at == '-' || (*at >= '0' && *at <= '9')) {
		char *end;
		seen = seen * 31 + (uint64_t)(int64_t)(strtod(at, &end) * 100);
		at = end;
	} else {
		while (*at >= 'a' && *at <= 'z')
			seen = seen * 31 + (uint8_t)*at++;
	}
}

static uint64_t json(void) {
	enum { SIZE = 256 << 10, RECORDS = 2000 };
	static char text[SIZE];
	int n = snprintf(text, SIZE, "[");
	for (int i = 0; i < RECORDS; i++)
		n += snprintf(text + n, SIZE - n, "%s{\"id\": %d, \"name\": \"customer \\\"%d\\\"\", \"total\": %d.%02d, \"tags\": [\"a\", \"b\", null], \"paid\": %s}\n",
		              i ? "," : "", i, i * 7, i * 3, i % 100, i % 2 ? "true" : "false");
	snprintf(text + n, SIZE - n, "]");
	at = text;
	seen = 0;
	value();
	return seen;
}

int main(int argc, char **argv) {
	static const struct {
		const char *name;
		uint64_t (*run)(void);
	} all[] = {{"sha256", sha256}, {"matrix", matrix}, {"sieve", sieve}, {"json", json}};
	for (unsigned k = 0; argc == 3 && k < sizeof all / sizeof *all; k++) {
		if (strcmp(argv[1], all[k].name))
			continue;
		uint64_t first = all[k].run();
		for (int i = atoi(argv[2]); i > 0; i--) {
			int64_t began = now();
			uint64_t result = all[k].run();
			printf("%lld\n", (long long)(now() - began));
			if (result != first) {
				fprintf(stderr, "kernels: %s: %llx and then %llx\n", argv[1], (unsigned long long)first, (unsigned long long)result);
				return 1;
			}
		}
		return 0;
	}
	fprintf(stderr, "usage: kernels sha256|matrix|sieve|json PASSES\n");
	return 2;
}
