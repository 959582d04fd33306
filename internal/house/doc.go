// Package house holds the rules of this repository that no compiler and no
// linter knows, as tests.
//
//	go test ./internal/house
//
// Each rule is a function from the source tree to the places that break it, a
// test that runs it on this repository, and a test that shows on a small tree
// that it bites. A failure says what is where, and why the rule is there. Who
// thinks a rule wrong changes it here, with the reason, in the same commit as
// the code that needs it changed.
//
// It does not judge style; that is .golangci.yml's part. Nothing imports it.
package house
