package dashboard

import "time"

const (
	// loginWithin is how long an address that lets somebody in works.
	loginWithin = 5 * time.Minute
	// maxLogins bounds those that nobody has used yet; the oldest goes.
	maxLogins = 64
	// maxSessions bounds the sessions; the one unused for longest goes.
	maxSessions = 1024
	// maxCookies bounds the session cookies of a request that are tried: any server of
	// the same host may set some of this name.
	maxCookies = 8

	// maxStreams bounds the streams of events and taps of all sessions, and
	// maxSessionStreams those of one: each page holds one or two.
	maxStreams        = 1024
	maxSessionStreams = 16
	// maxTopics bounds what is asked of the API for all streams together, every tick.
	maxTopics = 256
	// maxCalls bounds the calls of the API that are answered at one time.
	maxCalls = 64

	// tick is how often streams learn what has changed.
	tick = 2 * time.Second
	// askWithin bounds one question to the API for the streams.
	askWithin = 5 * time.Second
	// keepAlive is how long a stream is silent at most: what is between us and the
	// browser must not take it for dead.
	keepAlive = 15 * time.Second
	// readWithin is how long a reader may leave a part of a stream unread.
	readWithin = 10 * time.Second

	minWindow, maxWindow, defaultWindow = 15 * time.Second, time.Hour, time.Minute

	// maxQuery bounds the query of a request, in bytes.
	maxQuery = 4 << 10
)
