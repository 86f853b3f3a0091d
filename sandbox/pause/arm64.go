package pause

// arm64 is the program for that architecture: that of amd64, call by call. Its
// jumps and addresses are relative.
func arm64() []instruction {
	return []instruction{
		// rt_sigprocmask
		{"sub sp, sp, #0x10", "\xff\x43\x00\xd1"},
		{"mov x9, #0x4002", "\x49\x00\x88\xd2"},
		{"movk x9, #0x1, lsl #16", "\x29\x00\xa0\xf2"},
		{"str x9, [sp]", "\xe9\x03\x00\xf9"},
		{"mov x8, #0x87", "\xe8\x10\x80\xd2"},
		{"mov x0, xzr", "\xe0\x03\x1f\xaa"},
		{"mov x1, sp", "\xe1\x03\x00\x91"},
		{"mov x2, xzr", "\xe2\x03\x1f\xaa"},
		{"orr x3, xzr, #0x8", "\xe3\x03\x7d\xb2"},
		{"svc #0x0", "\x01\x00\x00\xd4"},
		// prctl
		{"mov x8, #0xa7", "\xe8\x14\x80\xd2"},
		{"orr x0, xzr, #0xf", "\xe0\x0f\x40\xb2"},
		{"adr x1, .+0xa0", "\x01\x05\x00\x10"},
		{"svc #0x0", "\x01\x00\x00\xd4"},
		// write
		{"orr x8, xzr, #0x40", "\xe8\x03\x7a\xb2"},
		{"orr x0, xzr, #0x4", "\xe0\x03\x7e\xb2"},
		{"adr x1, .+0x98", "\xc1\x04\x00\x10"},
		{"orr x2, xzr, #0xf", "\xe2\x0f\x40\xb2"},
		{"svc #0x0", "\x01\x00\x00\xd4"},
		// read
		{"orr x8, xzr, #0x3f", "\xe8\x17\x40\xb2"},
		{"orr x0, xzr, #0x4", "\xe0\x03\x7e\xb2"},
		{"add x1, sp, #0x8", "\xe1\x23\x00\x91"},
		{"orr x2, xzr, #0x1", "\xe2\x03\x40\xb2"},
		{"svc #0x0", "\x01\x00\x00\xd4"},
		{"cmp x0, #0x1", "\x1f\x04\x00\xf1"},
		{"b.ne .+0x60", "\x01\x03\x00\x54"},
		// close
		{"mov x8, #0x39", "\x28\x07\x80\xd2"},
		{"orr x0, xzr, #0x4", "\xe0\x03\x7e\xb2"},
		{"svc #0x0", "\x01\x00\x00\xd4"},
		// wait4
		{"mov x8, #0x104", "\x88\x20\x80\xd2"},
		{"mov x0, #0xffffffffffffffff", "\x00\x00\x80\x92"},
		{"mov x1, xzr", "\xe1\x03\x1f\xaa"},
		{"orr x2, xzr, #0x1", "\xe2\x03\x40\xb2"},
		{"mov x3, xzr", "\xe3\x03\x1f\xaa"},
		{"svc #0x0", "\x01\x00\x00\xd4"},
		{"cmp x0, #0x0", "\x1f\x00\x00\xf1"},
		{"b.gt .+0xffffffffffffffe4", "\x2c\xff\xff\x54"},
		// rt_sigtimedwait
		{"mov x8, #0x89", "\x28\x11\x80\xd2"},
		{"mov x0, sp", "\xe0\x03\x00\x91"},
		{"mov x1, xzr", "\xe1\x03\x1f\xaa"},
		{"mov x2, xzr", "\xe2\x03\x1f\xaa"},
		{"orr x3, xzr, #0x8", "\xe3\x03\x7d\xb2"},
		{"svc #0x0", "\x01\x00\x00\xd4"},
		{"cmp x0, #0x11", "\x1f\x44\x00\xf1"},
		{"b.eq .+0xffffffffffffffc4", "\x20\xfe\xff\x54"},
		{"cmp x0, #0x0", "\x1f\x00\x00\xf1"},
		{"b.le .+0xffffffffffffffdc", "\xed\xfe\xff\x54"},
		{"mov x0, xzr", "\xe0\x03\x1f\xaa"},
		{"b .+0x8", "\x02\x00\x00\x14"},
		// exit_group
		{"orr x0, xzr, #0x1", "\xe0\x03\x40\xb2"},
		{"mov x8, #0x5e", "\xc8\x0b\x80\xd2"},
		{"svc #0x0", "\x01\x00\x00\xd4"},
		{"", "pause\x00\x00\x00"},
		{"", ready},
	}
}
