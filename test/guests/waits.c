/*
 * Prints a line and waits until it is killed, for measurements of what a program
 * takes that does nothing: the same source is compiled for Wasm and natively.
 */
#include <poll.h>
#include <stdio.h>

int main(void) {
	printf("ready\n");
	fflush(stdout);
	for (;;)
		poll(NULL, 0, 3600 * 1000);
}
