package preview1

import "github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"

// Rights of a descriptor (witx, rights), as far as they are named here.
const (
	rightFdDatasync = 1 << iota
	rightFdRead
	rightFdSeek
	rightFdFdstatSetFlags
	rightFdSync
	rightFdTell
	rightFdWrite
	rightFdAdvise
	rightFdAllocate
	rightPathCreateDirectory
	rightPathCreateFile
	rightPathLinkSource
	rightPathLinkTarget
	rightPathOpen
	rightFdReaddir
	rightPathReadlink
	rightPathRenameSource
	rightPathRenameTarget
	rightPathFilestatGet
	rightPathFilestatSetSize
	rightPathFilestatSetTimes
	rightFdFilestatGet
	rightFdFilestatSetSize
	rightFdFilestatSetTimes
	rightPathSymlink
	rightPathRemoveDirectory
	rightPathUnlinkFile
	rightPollFdReadwrite
	rightSockShutdown
	rightSockAccept
)

// What each type of descriptor can be asked for. Guests derive much from these:
// wasi-libc takes O_RDWR from read and write, and a terminal is a character
// device that cannot seek.
const (
	rightsFile = rightFdDatasync | rightFdRead | rightFdSeek | rightFdFdstatSetFlags | rightFdSync | rightFdTell |
		rightFdWrite | rightFdAdvise | rightFdAllocate | rightFdFilestatGet | rightFdFilestatSetSize |
		rightFdFilestatSetTimes | rightPollFdReadwrite
	rightsDirectory = rightFdFdstatSetFlags | rightFdSync | rightFdAdvise | rightPathCreateDirectory | rightPathCreateFile |
		rightPathLinkSource | rightPathLinkTarget | rightPathOpen | rightFdReaddir | rightPathReadlink |
		rightPathRenameSource | rightPathRenameTarget | rightPathFilestatGet | rightPathFilestatSetSize |
		rightPathFilestatSetTimes | rightFdFilestatGet | rightFdFilestatSetTimes | rightPathSymlink |
		rightPathRemoveDirectory | rightPathUnlinkFile | rightPollFdReadwrite
	rightsInherited = rightsDirectory | rightsFile
	rightsStream    = rightFdRead | rightFdFdstatSetFlags | rightFdWrite | rightFdFilestatGet | rightPollFdReadwrite
	rightsSocket    = rightsStream | rightSockShutdown | rightSockAccept
)

// rightsOf returns all rights that a descriptor of that kind can have.
func rightsOf(d *descriptor.Descriptor) uint64 {
	switch d.Type {
	case descriptor.Directory:
		return rightsDirectory
	case descriptor.RegularFile, descriptor.BlockDevice:
		return rightsFile
	case descriptor.CharacterDevice:
		if d.Terminal {
			return rightsStream
		}
		return rightsFile
	case descriptor.StreamSocket, descriptor.DatagramSocket:
		return rightsSocket
	}
	return rightsStream
}
