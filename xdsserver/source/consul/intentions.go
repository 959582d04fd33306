package consul

import "context"

// followIntentions emits the part until ctx ends.
func (s *Source) followIntentions(ctx context.Context, emit func(intentionsPart)) error {
	emit(intentionsPart{part: part{known: true}})
	<-ctx.Done()
	return nil
}
