package consul

// A field is one field of a config entry, and what the mesh does with it. The tables of
// fields are all there are: tests compare them with Consul's own types.
type field struct {
	// Entry is the kind of entry, Path the field in it, as in "Sources[].Name".
	Entry, Path string
	// Status is one of those below; Note says how, or why not.
	Status, Note string
}

// What is done with a field.
const (
	honoured = "honoured"
	// refused is left out, with a warning: calls go as the rest of the entry says.
	refused = "refused"
	// fails is for what leaves calls nowhere to go: they fail, with a problem.
	fails = "fails"
)
