package interceptors

import (
	"runtime/debug"
	"sync"
	"testing"
	"unsafe"
)

// A stack that is copied is somewhere else afterwards.
func TestAHandlersStackGrowsAtOnce(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would move it, too
	var moved bool
	var done sync.WaitGroup
	done.Go(func() {
		var here byte
		grow(false)
		before := uintptr(unsafe.Pointer(&here))
		frames(8, 240) // over 2 KiB
		moved = uintptr(unsafe.Pointer(&here)) != before
	})
	done.Wait()
	if moved {
		t.Errorf("the stack was copied after room was made for %d bytes", handlerStack)
	}
}

// BenchmarkHandlerStack is a goroutine that is made for a call, with frames as many and as
// large as grpc's: what it costs to grow its stack where the handler begins, and where it
// is needed.
func BenchmarkHandlerStack(b *testing.B) {
	for name, handler := range map[string]func() byte{
		"early":  func() byte { grow(false); return frames(9, 240) },
		"needed": func() byte { return frames(9, 240) },
	} {
		b.Run(name, func(b *testing.B) {
			var done sync.WaitGroup
			for b.Loop() {
				done.Go(func() { above(5, handler) })
				done.Wait()
			}
		})
	}
}

// frames calls itself, with a frame of a quarter of a kilobyte each time.
//
//go:noinline
func frames(deep, last int) byte {
	var frame [240]byte
	frame[last-1] = byte(deep)
	if deep == 0 {
		return frame[last/2]
	}
	return frames(deep-1, last) + frame[last-1]
}

// above is what is on the stack before the handler.
//
//go:noinline
func above(deep int, handler func() byte) byte {
	var frame [320]byte
	frame[deep] = byte(deep)
	if deep == 0 {
		return handler()
	}
	return above(deep-1, handler) + frame[deep]
}
