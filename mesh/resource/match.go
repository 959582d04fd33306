package resource

// matcher holds for the calls a route applies to.
type matcher struct{}
