package runner

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"unsafe"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"
)

// newCodeCache returns the engine's cache of compiled code in a directory. The code in
// it is laid out so that it can be mapped: all containers of a module have the same
// pages then, where each would have a copy of its own.
func newCodeCache(dir string) (wazero.CompilationCache, error) {
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, err
	}
	field, err := fileCacheOf(cache)
	if err != nil {
		return nil, err
	}
	field.Set(reflect.ValueOf(mappedFiles{field.Interface().(fileCache)}))
	return cache, nil
}

// fileCache is what the engine asks for compiled code by the hash of a module.
type fileCache interface {
	Get(key [32]byte) (content io.ReadCloser, ok bool, err error)
	Add(key [32]byte, content io.Reader) error
	Delete(key [32]byte) error
}

// fileCacheOf returns the place of the engine's own in a cache. The engine has no
// function to set another.
func fileCacheOf(cache wazero.CompilationCache) (reflect.Value, error) {
	wanted := reflect.TypeFor[fileCache]()
	if v := reflect.ValueOf(cache); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		f := v.Elem().FieldByName("fileCache")
		if f.IsValid() && f.Kind() == reflect.Interface && f.Type().Implements(wanted) && wanted.Implements(f.Type()) && !f.IsNil() {
			return reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem(), nil
		}
	}
	return reflect.Value{}, fmt.Errorf("the engine's cache %T is not what this runtime knows", cache)
}

// mappedFiles puts padding before what the engine writes into its files, so that the
// code in them begins at a page.
type mappedFiles struct{ fileCache }

// lengthSize is that of the padding's own length, which it begins with.
const lengthSize = 4

func (m mappedFiles) Add(key [32]byte, content io.Reader) error {
	var head bytes.Buffer
	code, err := readHead(io.TeeReader(content, &head))
	if err != nil {
		return err
	}
	page := int64(os.Getpagesize())
	padding := make([]byte, lengthSize+(2*page-lengthSize-code.offset%page)%page)
	binary.LittleEndian.PutUint32(padding, uint32(len(padding)))
	return m.fileCache.Add(key, io.MultiReader(bytes.NewReader(padding), &head, content))
}

func (m mappedFiles) Get(key [32]byte) (io.ReadCloser, bool, error) {
	content, ok, err := m.fileCache.Get(key)
	if err != nil || !ok {
		return nil, ok, err
	}
	r, err := newCodeReader(content)
	if err != nil {
		content.Close()
		return nil, false, err
	}
	return r, true, nil
}

// codeSpan is where the code lies in what the engine writes.
type codeSpan struct{ offset, size int64 }

// Bounds of what is believed of a head: more than any module makes.
const (
	maxFunctions = 1 << 24
	maxCode      = 1 << 40
)

// readHead reads what the engine writes before the code: a magic number, its version
// with the length of that, the offset of each function behind their number, and the
// size of the code.
func readHead(r io.Reader) (codeSpan, error) {
	const magic = "WAZEVO"
	var b [256]byte
	var read int64
	var failed error
	next := func(n int64) []byte {
		if failed == nil {
			_, failed = io.ReadFull(r, b[:n])
			read += n
		}
		return b[:n]
	}
	if string(next(int64(len(magic)))) != magic && failed == nil {
		return codeSpan{}, errors.New("compiled code does not begin with the engine's magic number")
	}
	next(int64(next(1)[0]))
	functions := int64(binary.LittleEndian.Uint32(next(4)))
	if functions > maxFunctions {
		return codeSpan{}, fmt.Errorf("compiled code has %d functions", functions)
	}
	if failed == nil {
		_, failed = io.CopyN(io.Discard, r, 8*functions)
		read += 8 * functions
	}
	size := binary.LittleEndian.Uint64(next(8))
	switch {
	case failed != nil:
		return codeSpan{}, fmt.Errorf("read the head of compiled code: %w", failed)
	case size > maxCode:
		return codeSpan{}, fmt.Errorf("compiled code has %d bytes", size)
	}
	return codeSpan{offset: read, size: int64(size)}, nil
}

// codeReader reads a file of compiled code for the engine. What is around the code
// comes from buffers, since the engine asks for eight bytes at a time.
type codeReader struct {
	file *os.File
	head *bytes.Reader
	tail *bufio.Reader
	code codeSpan // in the file
	at   int64    // how much of the code was read
}

func newCodeReader(content io.ReadCloser) (*codeReader, error) {
	f, ok := content.(*os.File)
	if !ok {
		return nil, fmt.Errorf("the engine keeps compiled code in %T, not in files", content)
	}
	var b [lengthSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return nil, fmt.Errorf("read compiled code: %w", err)
	}
	padding := int64(binary.LittleEndian.Uint32(b[:]))
	var head bytes.Buffer
	code, err := readHead(io.TeeReader(buffered(f, padding), &head))
	if err != nil {
		return nil, err
	}
	code.offset += padding
	return &codeReader{file: f, head: bytes.NewReader(head.Bytes()), tail: buffered(f, code.offset+code.size), code: code}, nil
}

// buffered reads a file from an offset on.
func buffered(f *os.File, from int64) *bufio.Reader {
	return bufio.NewReaderSize(io.NewSectionReader(f, from, math.MaxInt64-from), 32<<10)
}

func (r *codeReader) Read(p []byte) (n int, err error) {
	switch {
	case r.head.Len() > 0:
		return r.head.Read(p)
	case r.at == r.code.size:
		// All that p takes: of eight bytes that are cut by a buffer the engine takes the
		// first part for the end.
		if n, err = io.ReadFull(r.tail, p); errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return n, err
	case r.at == 0 && int64(len(p)) == r.code.size:
		if n, err = r.mapInto(p); err != nil || n > 0 {
			break
		}
		fallthrough
	default:
		n, err = r.file.ReadAt(p[:min(int64(len(p)), r.code.size-r.at)], r.code.offset+r.at)
	}
	r.at += int64(n)
	return n, err
}

// mapInto puts the code's pages of the file in the place of p, which is memory that the
// engine has mapped for nothing else. It does nothing where files may not be executed.
// The mapping cannot be written: if p were any other memory, that would show at once.
func (r *codeReader) mapInto(p []byte) (int, error) {
	start := unsafe.Pointer(unsafe.SliceData(p))
	if page := int64(os.Getpagesize()); r.code.offset%page != 0 || int64(uintptr(start))%page != 0 {
		return 0, nil
	}
	_, err := unix.MmapPtr(int(r.file.Fd()), r.code.offset, start, uintptr(len(p)), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_FIXED)
	switch {
	case err == nil:
		return len(p), nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENODEV):
		return 0, nil // and p is as it was
	}
	return 0, os.NewSyscallError("mmap", err)
}

func (r *codeReader) Close() error { return r.file.Close() }
