package call

import (
	"strconv"

	"google.golang.org/grpc/codes"
)

// names are the codes as gRPC's documents write them, and as metrics, traces and logs
// do: Go's own say "Unavailable".
var names = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// CodeName returns a code's name, as "UNAVAILABLE"; "CODE_42" for what is none.
func CodeName(c codes.Code) string {
	if int(c) < len(names) {
		return names[c]
	}
	return "CODE_" + strconv.FormatUint(uint64(c), 10)
}
