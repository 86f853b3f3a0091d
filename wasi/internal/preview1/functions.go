package preview1

// find returns a function with its type: one letter per parameter, a colon, and
// one per result. It is a switch so that nothing is built at the start of a
// process.
//
// The names are those of witx snapshot-01, sock_accept, which came with
// wasi-libc 16, and WasmEdge's. Of the latter some exist with two types under
// one name; the older type has a $ for its last letter here, and guests are
// rewritten to import that (package wasi).
func find(name string) (signature string, f function) {
	switch name {
	case "args_get":
		return "ii:i", argsGet
	case "args_sizes_get":
		return "ii:i", argsSizesGet
	case "environ_get":
		return "ii:i", environGet
	case "environ_sizes_get":
		return "ii:i", environSizesGet
	case "clock_res_get":
		return "ii:i", clockResGet
	case "clock_time_get":
		return "iIi:i", clockTimeGet
	case "fd_advise":
		return "iIIi:i", fdAdvise
	case "fd_allocate":
		return "iII:i", fdAllocate
	case "fd_close":
		return "i:i", fdClose
	case "fd_datasync":
		return "i:i", fdDatasync
	case "fd_fdstat_get":
		return "ii:i", fdFdstatGet
	case "fd_fdstat_set_flags":
		return "ii:i", fdFdstatSetFlags
	case "fd_fdstat_set_rights":
		return "iII:i", fdFdstatSetRights
	case "fd_filestat_get":
		return "ii:i", fdFilestatGet
	case "fd_filestat_set_size":
		return "iI:i", fdFilestatSetSize
	case "fd_filestat_set_times":
		return "iIIi:i", fdFilestatSetTimes
	case "fd_pread":
		return "iiiIi:i", fdPread
	case "fd_prestat_get":
		return "ii:i", fdPrestatGet
	case "fd_prestat_dir_name":
		return "iii:i", fdPrestatDirName
	case "fd_pwrite":
		return "iiiIi:i", fdPwrite
	case "fd_read":
		return "iiii:i", fdRead
	case "fd_readdir":
		return "iiiIi:i", fdReaddir
	case "fd_renumber":
		return "ii:i", fdRenumber
	case "fd_seek":
		return "iIii:i", fdSeek
	case "fd_sync":
		return "i:i", fdSync
	case "fd_tell":
		return "ii:i", fdTell
	case "fd_write":
		return "iiii:i", fdWrite
	case "path_create_directory":
		return "iii:i", pathCreateDirectory
	case "path_filestat_get":
		return "iiiii:i", pathFilestatGet
	case "path_filestat_set_times":
		return "iiiiIIi:i", pathFilestatSetTimes
	case "path_link":
		return "iiiiiii:i", pathLink
	case "path_open":
		return "iiiiiIIii:i", pathOpen
	case "path_readlink":
		return "iiiiii:i", pathReadlink
	case "path_remove_directory":
		return "iii:i", pathRemoveDirectory
	case "path_rename":
		return "iiiiii:i", pathRename
	case "path_symlink":
		return "iiiii:i", pathSymlink
	case "path_unlink_file":
		return "iii:i", pathUnlinkFile
	case "poll_oneoff", "epoll_oneoff":
		return "iiii:i", pollOneoff
	case "proc_exit":
		return "i:", procExit
	case "proc_raise":
		return "i:i", procRaise
	case "sched_yield":
		return ":i", schedYield
	case "random_get":
		return "ii:i", randomGet
	}
	return findSocket(name)
}

// findSocket is find for what concerns sockets.
func findSocket(name string) (signature string, f function) {
	switch name {
	case "sock_open", "sock_open_v2":
		return "iii:i", sockOpen
	case "sock_bind", "sock_bind_v2":
		return "iii:i", sockBind
	case "sock_listen", "sock_listen_v2":
		return "ii:i", sockListen
	case "sock_connect", "sock_connect_v2":
		return "iii:i", sockConnect
	case "sock_accept", "sock_accept_v2":
		return "iii:i", sockAccept
	case "sock_accep$":
		return "ii:i", sockAcceptV1
	case "sock_recv", "sock_recv_v2":
		return "iiiiii:i", sockRecv
	case "sock_recv_from", "sock_recv_from_v2":
		return "iiiiiiii:i", sockRecvFrom
	case "sock_recv_fro$":
		return "iiiiiii:i", sockRecvFromV1
	case "sock_send", "sock_send_v2":
		return "iiiii:i", sockSend
	case "sock_send_to", "sock_send_to_v2":
		return "iiiiiii:i", sockSendTo
	case "sock_shutdown":
		return "ii:i", sockShutdown
	case "sock_getsockopt":
		return "iiiii:i", sockGetsockopt
	case "sock_setsockopt":
		return "iiiii:i", sockSetsockopt
	case "sock_getlocaladdr", "sock_getlocaladdr_v2":
		return "iii:i", sockGetlocaladdr
	case "sock_getlocaladd$":
		return "iiii:i", sockGetlocaladdrV1
	case "sock_getpeeraddr", "sock_getpeeraddr_v2":
		return "iii:i", sockGetpeeraddr
	case "sock_getpeeradd$":
		return "iiii:i", sockGetpeeraddrV1
	case "sock_getaddrinfo":
		return "iiiiiiii:i", sockGetaddrinfo
	}
	return "", nil
}
