package pause

// amd64 is the program for that architecture. Where it jumps, it names the offset
// from its first instruction.
func amd64() []instruction {
	return []instruction{
		// rt_sigprocmask(SIG_BLOCK, {SIGINT, SIGTERM, SIGCHLD}, NULL, 8): what is
		// blocked is kept even for the first process of a pid namespace, for
		// which the kernel drops signals that have no handler.
		{"sub rsp, 0x10", "\x48\x83\xec\x10"},
		{"mov qword ptr [rsp], 0x14002", "\x48\xc7\x04\x24\x02\x40\x01\x00"},
		{"mov eax, 0xe", "\xb8\x0e\x00\x00\x00"},
		{"xor edi, edi", "\x31\xff"},
		{"mov rsi, rsp", "\x48\x89\xe6"},
		{"xor edx, edx", "\x31\xd2"},
		{"mov r10d, 0x8", "\x41\xba\x08\x00\x00\x00"},
		{"syscall", "\x0f\x05"},
		// prctl(PR_SET_NAME, "pause"): a program that is executed by descriptor
		// is called by the descriptor's number.
		{"mov eax, 0x9d", "\xb8\x9d\x00\x00\x00"},
		{"mov edi, 0xf", "\xbf\x0f\x00\x00\x00"},
		{"lea rsi, ptr [rip+0x7d]", "\x48\x8d\x35\x7d\x00\x00\x00"},
		{"syscall", "\x0f\x05"},
		// write(control.SocketFD, ready, 15)
		{"mov eax, 0x1", "\xb8\x01\x00\x00\x00"},
		{"mov edi, 0x4", "\xbf\x04\x00\x00\x00"},
		{"lea rsi, ptr [rip+0x70]", "\x48\x8d\x35\x70\x00\x00\x00"},
		{"mov edx, 0xf", "\xba\x0f\x00\x00\x00"},
		{"syscall", "\x0f\x05"},
		// if read(control.SocketFD, sp + 8, 1) != 1, exit(1): the shim is gone.
		{"xor eax, eax", "\x31\xc0"},
		{"lea rsi, ptr [rsp+0x8]", "\x48\x8d\x74\x24\x08"},
		{"mov edx, 0x1", "\xba\x01\x00\x00\x00"},
		{"syscall", "\x0f\x05"},
		{"cmp eax, 0x1", "\x83\xf8\x01"},
		{"jnz 0xa2", "\x75\x44"},
		// close(control.SocketFD)
		{"mov eax, 0x3", "\xb8\x03\x00\x00\x00"},
		{"syscall", "\x0f\x05"},
		// 0x65: while wait4(-1, NULL, WNOHANG, NULL) > 0
		{"mov eax, 0x3d", "\xb8\x3d\x00\x00\x00"},
		{"mov rdi, -0x1", "\x48\xc7\xc7\xff\xff\xff\xff"},
		{"xor esi, esi", "\x31\xf6"},
		{"mov edx, 0x1", "\xba\x01\x00\x00\x00"},
		{"xor r10d, r10d", "\x45\x31\xd2"},
		{"syscall", "\x0f\x05"},
		{"test eax, eax", "\x85\xc0"},
		{"jnle 0x65", "\x7f\xe4"},
		// 0x81: rt_sigtimedwait({SIGINT, SIGTERM, SIGCHLD}, NULL, NULL, 8): SIGCHLD
		// goes back to 0x65, an error to 0x81, another signal on to the end.
		{"mov eax, 0x80", "\xb8\x80\x00\x00\x00"},
		{"mov rdi, rsp", "\x48\x89\xe7"},
		{"xor esi, esi", "\x31\xf6"},
		{"xor edx, edx", "\x31\xd2"},
		{"mov r10d, 0x8", "\x41\xba\x08\x00\x00\x00"},
		{"syscall", "\x0f\x05"},
		{"cmp eax, 0x11", "\x83\xf8\x11"},
		{"jz 0x65", "\x74\xcb"},
		{"test eax, eax", "\x85\xc0"},
		{"jle 0x81", "\x7e\xe3"},
		{"xor edi, edi", "\x31\xff"},
		{"jmp 0xa7", "\xeb\x05"},
		// 0xa2, 0xa7: exit_group(1 or 0)
		{"mov edi, 0x1", "\xbf\x01\x00\x00\x00"},
		{"mov eax, 0xe7", "\xb8\xe7\x00\x00\x00"},
		{"syscall", "\x0f\x05"},
		{"", "pause\x00"},
		{"", ready},
	}
}

// ready is a control.Report.
const ready = `{"ready":true}` + "\n"
