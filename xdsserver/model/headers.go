package model

// Headers are changes to the headers that calls are sent with: first what is
// removed, then what is set in place of what was there, then what is added beside
// it. Letter case does not count in names.
type Headers struct {
	Set, Add []HeaderValue
	Remove   []string
}

// A HeaderValue is one header.
type HeaderValue struct{ Name, Value string }
