package telemetry

import "google.golang.org/grpc/codes"

// statusNames are as gRFC A66 has them.
var statusNames = [numCodes]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// StatusName returns a code as metrics have it (gRFC A66, grpc.status): "OK",
// "UNAVAILABLE"; UNKNOWN for what is no code of gRPC.
func StatusName(code codes.Code) string {
	if code >= numCodes {
		code = codes.Unknown
	}
	return statusNames[code]
}
