// Package codecache is the node's directory of compiled code, one entry per
// module, engine, build and kind of CPU. Whoever can write an entry runs native
// code in every container that uses it, so the directory belongs to root, is
// 0700, is written only by the short-lived compile process, and reaches a runner
// as a read-only mount of one entry.
//
//	<root>/<key>/meta.json                   names, sizes and checksums of the files
//	<root>/<key>/code/wazero-<version>/<id>  what the engine wrote
//	<root>/<key>/code/module/<digest>        a module that was a layer of an image
//	<root>/.draft-<random>/                  an entry in the making, locked by its maker
//	<root>/.locks                            an empty file, a byte of which is locked for a key
//
// Modules that come as layers lie here too, so that one limit holds for all that a
// node keeps of its images.
//
// Lookup checks an entry completely; what does not fit is removed and is a miss.
// An entry appears by one rename after everything in it is on the disk, so that a
// crash leaves a whole entry or a draft. The shim and wasmctl import this package,
// and only the standard library and golang.org/x/sys come with it.
package codecache
