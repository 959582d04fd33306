package resource

import (
	"strings"

	"google.golang.org/grpc/codes"
)

// CodeName returns the name of a gRPC status code as configuration has it, as in
// "deadline-exceeded".
func CodeName(code uint32) string {
	switch codes.Code(code) {
	case codes.OK:
		return "ok"
	case codes.Canceled:
		return "cancelled" // as everybody but grpc-go writes it
	default:
	}
	var b strings.Builder
	for i, r := range codes.Code(code).String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}
