/* A reactor: no _start, an _initialize that must run before its export. */
#include <stdio.h>

static int ready;

__attribute__((constructor)) static void initialize(void) { ready = 42; }

__attribute__((export_name("run"))) void run(void) {
	printf("reactor is ready: %d\n", ready);
	fflush(stdout);
}
