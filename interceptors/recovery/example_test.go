package recovery_test

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/recovery"
)

func ExampleNew() {
	panics := recovery.New("voting", slog.New(slog.DiscardHandler))
	handle := func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = panics.Panicked("/voting.v1.Voting/Vote", v, time.Now())
			}
		}()
		panic("at the disco")
	}
	fmt.Println(handle())
	// Output:
	// mesh: the handler of /voting.v1.Voting/Vote panicked; try: the log of voting, which has the stack
}
