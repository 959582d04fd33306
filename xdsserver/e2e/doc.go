// Package e2e tests the mesh as its users run it: xdsserver and services as
// separate processes on loopback, real signals, real time.
//
// The test binary plays every role: it starts itself again as xdsserver or as a
// service. Only the stock client is a program of its own, since its point is
// that it contains no line of this project.
//
//	go test ./xdsserver/e2e                 # about three minutes
//	go test -short ./xdsserver/e2e          # without the minute-long outage
//
// The package holds no code to import.
package e2e
