package consul

import "context"

// followCatalog emits the part until ctx ends.
func (s *Source) followCatalog(ctx context.Context, emit func(catalogPart)) error {
	emit(catalogPart{part: part{known: true}})
	<-ctx.Done()
	return nil
}
