package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// batch is how many resources one response to the judge holds.
	batch = 500
	// batchBytes bounds a response to the judge, so that a refused one is not
	// taken apart from much.
	batchBytes = 4 << 20
	// defaultBudget is the judge's time for each batch. It needs some 20 ms.
	defaultBudget = 2 * time.Second
	// judgeAgain is the pause after the judge failed: it would fail again, and
	// each time hold up a change for its whole budget.
	judgeAgain = 30 * time.Second
)

// A jury keeps a judge, and remembers its verdicts. It belongs to one goroutine
// at a time.
type jury struct {
	budget time.Duration
	logger *slog.Logger

	judge    *judge // nil until needed, and after it failed
	retryAt  time.Time
	closing  sync.WaitGroup // judges that failed
	verdicts map[verdictKey]string
}

// A verdictKey is a resource's content, whatever it was made from.
type verdictKey struct {
	kind    kind
	version string
}

// hear gets verdicts on the configuration among all, and returns how many are
// without one, and why.
func (j *jury) hear(ctx context.Context, all []*made) (without int, err error) {
	var waiting [kinds][]*made
	for _, m := range all {
		if m.judged || m.refusal != "" {
			continue
		}
		if refusal, known := j.verdicts[verdictKey{m.kind, m.resource.Version}]; known {
			m.settle(refusal)
			continue
		}
		waiting[m.kind] = append(waiting[m.kind], m)
		without++
	}
	if without == 0 {
		return 0, nil
	}
	if time.Now().Before(j.retryAt) {
		return without, errors.New("it failed a moment ago")
	}
	budget := j.budget * time.Duration((without+batch-1)/batch)
	limited, cancel := context.WithTimeoutCause(ctx, budget, fmt.Errorf("it took longer than %v", budget))
	defer cancel()
	if j.judge == nil {
		if j.judge, err = newJudge(); err != nil {
			return without, err
		}
	}
	for k := range waiting {
		for rest := waiting[k]; len(rest) > 0; {
			n := batchOf(rest)
			judged, err := j.try(limited, kind(k), rest[:n])
			without -= judged
			if err != nil {
				if limited.Err() != nil {
					err = context.Cause(limited)
				}
				if ctx.Err() == nil {
					j.give(err)
				}
				return without, err
			}
			rest = rest[n:]
		}
	}
	return without, nil
}

// batchOf is how many of the resources go into one response, at least one.
func batchOf(rest []*made) int {
	size := 0
	for i, m := range rest[:min(len(rest), batch)] {
		if size += m.resource.size; size > batchBytes && i > 0 {
			return i
		}
	}
	return min(len(rest), batch)
}

// try judges one batch and returns on how many there is a verdict.
func (j *jury) try(ctx context.Context, k kind, all []*made) (judged int, err error) {
	candidates := make([]*candidate, len(all))
	for i, m := range all {
		candidates[i] = &candidate{name: m.resource.Name, value: m.value()}
	}
	err = j.judge.try(ctx, typeURLs[k], candidates)
	for i, c := range candidates {
		if c.judged {
			all[i].settle(c.refusal)
			j.verdicts[verdictKey{k, all[i].resource.Version}] = c.refusal
			judged++
		}
	}
	return judged, err
}

// settle notes a verdict of the judge.
func (m *made) settle(refusal string) {
	m.judged = true
	if refusal != "" {
		m.refuse(refusal)
	}
}

// give up on the judge for a while. Closing it may take as long as it hangs.
func (j *jury) give(err error) {
	j.logger.Warn("grpc-go's client gives no verdict on what is published; our own decoder's stands alone", "error", err)
	j.retryAt = time.Now().Add(judgeAgain)
	j.closing.Go(j.judge.close)
	j.judge = nil
}

// forget drops the verdicts on what is not in use any more, now and then.
func (j *jury) forget(inUse []*made) {
	if len(j.verdicts) <= 2*len(inUse)+2*batch {
		return
	}
	kept := make(map[verdictKey]string, len(inUse))
	for _, m := range inUse {
		key := verdictKey{m.kind, m.resource.Version}
		if refusal, known := j.verdicts[key]; known {
			kept[key] = refusal
		}
	}
	j.verdicts = kept
}

// close stops the judge and waits for it.
func (j *jury) close() {
	if j.judge != nil {
		j.judge.close()
		j.judge = nil
	}
	j.closing.Wait()
}
