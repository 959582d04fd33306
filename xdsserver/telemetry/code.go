package telemetry

import "google.golang.org/grpc/codes"

// codeNames are the names of codes, as OTLP and gRPC write them (gRFC A66).
var codeNames = [otherCode]string{
	codes.OK:                 "OK",
	codes.Canceled:           "CANCELLED",
	codes.Unknown:            "UNKNOWN",
	codes.InvalidArgument:    "INVALID_ARGUMENT",
	codes.DeadlineExceeded:   "DEADLINE_EXCEEDED",
	codes.NotFound:           "NOT_FOUND",
	codes.AlreadyExists:      "ALREADY_EXISTS",
	codes.PermissionDenied:   "PERMISSION_DENIED",
	codes.ResourceExhausted:  "RESOURCE_EXHAUSTED",
	codes.FailedPrecondition: "FAILED_PRECONDITION",
	codes.Aborted:            "ABORTED",
	codes.OutOfRange:         "OUT_OF_RANGE",
	codes.Unimplemented:      "UNIMPLEMENTED",
	codes.Internal:           "INTERNAL",
	codes.Unavailable:        "UNAVAILABLE",
	codes.DataLoss:           "DATA_LOSS",
	codes.Unauthenticated:    "UNAUTHENTICATED",
}

var codesByName = func() map[string]uint8 {
	m := map[string]uint8{"CANCELED": uint8(codes.Canceled)}
	for i, name := range codeNames {
		m[name] = uint8(i)
	}
	return m
}()

// parseCode is the kind of a status code's name.
func parseCode(name string) uint8 {
	if c, ok := codesByName[name]; ok {
		return c
	}
	return otherCode
}

// codeName is the name of a kind.
func codeName(kind int) string {
	if kind < len(codeNames) {
		return codeNames[kind]
	}
	return "OTHER"
}

// failed reports whether a kind is a failure of the service, and no fault of the caller.
func failed(kind int) bool {
	switch codes.Code(kind) {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	default:
		return false
	}
}
