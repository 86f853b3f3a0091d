package preview1

import "golang.org/x/sys/unix"

// Errno is an error number of WASI; zero is success.
type Errno uint16

// The error numbers that have a use here by name (witx, errno).
const (
	success        Errno = 0
	errAcces       Errno = 2
	errAfnosupport Errno = 5
	errBadf        Errno = 8
	errFault       Errno = 21
	errInval       Errno = 28
	errIO          Errno = 29
	errIsdir       Errno = 31
	errNametoolong Errno = 37
	errNosys       Errno = 52
	errNotdir      Errno = 54
	errNoprotoopt  Errno = 50
	errNotsock     Errno = 57
	errNotsup      Errno = 58
	errPerm        Errno = 63
	errSpipe       Errno = 70
	errNotcapable  Errno = 76
)

// fromKernel translates the kernel's numbers, by name. What is not listed is an
// input/output error to a guest.
var fromKernel = [...]Errno{
	unix.E2BIG:           1,
	unix.EACCES:          errAcces,
	unix.EADDRINUSE:      3,
	unix.EADDRNOTAVAIL:   4,
	unix.EAFNOSUPPORT:    errAfnosupport,
	unix.EAGAIN:          6,
	unix.EALREADY:        7,
	unix.EBADF:           errBadf,
	unix.EBADMSG:         9,
	unix.EBUSY:           10,
	unix.ECANCELED:       11,
	unix.ECHILD:          12,
	unix.ECONNABORTED:    13,
	unix.ECONNREFUSED:    14,
	unix.ECONNRESET:      15,
	unix.EDEADLK:         16,
	unix.EDESTADDRREQ:    17,
	unix.EDOM:            18,
	unix.EDQUOT:          19,
	unix.EEXIST:          20,
	unix.EFAULT:          errFault,
	unix.EFBIG:           22,
	unix.EHOSTUNREACH:    23,
	unix.EIDRM:           24,
	unix.EILSEQ:          25,
	unix.EINPROGRESS:     26,
	unix.EINTR:           27,
	unix.EINVAL:          errInval,
	unix.EIO:             errIO,
	unix.EISCONN:         30,
	unix.EISDIR:          errIsdir,
	unix.ELOOP:           32,
	unix.EMFILE:          33,
	unix.EMLINK:          34,
	unix.EMSGSIZE:        35,
	unix.EMULTIHOP:       36,
	unix.ENAMETOOLONG:    errNametoolong,
	unix.ENETDOWN:        38,
	unix.ENETRESET:       39,
	unix.ENETUNREACH:     40,
	unix.ENFILE:          41,
	unix.ENOBUFS:         42,
	unix.ENODEV:          43,
	unix.ENOENT:          44,
	unix.ENOEXEC:         45,
	unix.ENOLCK:          46,
	unix.ENOLINK:         47,
	unix.ENOMEM:          48,
	unix.ENOMSG:          49,
	unix.ENOPROTOOPT:     errNoprotoopt,
	unix.ENOSPC:          51,
	unix.ENOSYS:          errNosys,
	unix.ENOTCONN:        53,
	unix.ENOTDIR:         errNotdir,
	unix.ENOTEMPTY:       55,
	unix.ENOTRECOVERABLE: 56,
	unix.ENOTSOCK:        errNotsock,
	unix.EOPNOTSUPP:      errNotsup,
	unix.ENOTTY:          59,
	unix.ENXIO:           60,
	unix.EOVERFLOW:       61,
	unix.EOWNERDEAD:      62,
	unix.EPERM:           errPerm,
	unix.EPIPE:           64,
	unix.EPROTO:          65,
	unix.EPROTONOSUPPORT: 66,
	unix.EPROTOTYPE:      67,
	unix.ERANGE:          68,
	unix.EROFS:           69,
	unix.ESPIPE:          errSpipe,
	unix.ESRCH:           71,
	unix.ESTALE:          72,
	unix.ETIMEDOUT:       73,
	unix.ETXTBSY:         74,
	unix.EXDEV:           75,
	// WASI has no number of its own for these.
	unix.EHOSTDOWN:       23,
	unix.EPFNOSUPPORT:    errAfnosupport,
	unix.ESOCKTNOSUPPORT: 66,
}

// errno translates a result of the kernel.
func errno(e unix.Errno) Errno {
	if e == 0 {
		return success
	}
	if uint64(e) < uint64(len(fromKernel)) && fromKernel[e] != 0 {
		return fromKernel[e]
	}
	return errIO
}
