//go:build !linux

package identity

const peerUserUnknown = true
