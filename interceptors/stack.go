package interceptors

import "runtime"

// handlerStack is the room that a handler is given on the stack, in bytes: the 2.2 KiB that
// grpc needs to read a small request, and some for the handler. With what is above it that
// comes to 6 KiB of 8, which is what the stack has then.
const handlerStack = 3 << 10

// grow gives the goroutine a stack that most handlers need not outgrow. To grow it is to
// copy it, frame by frame: where a handler begins there are half as many of them as where
// it reads its request, and grpc's goroutines begin small, or were made small by the last
// garbage collection while they waited.
//
// The room is the frame of a function that never uses it: only its size counts.
//
//go:noinline
func grow(use bool) {
	if use {
		var room [handlerStack]byte
		runtime.KeepAlive(&room)
	}
}
