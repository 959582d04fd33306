package consul

import "context"

// followRouting emits the part until ctx ends.
func (s *Source) followRouting(ctx context.Context, emit func(routingPart)) error {
	emit(routingPart{part: part{known: true}})
	<-ctx.Done()
	return nil
}
