package manifest

import (
	"strconv"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func (r *reader) fault(v *value) *model.Fault {
	if v == nil {
		return nil
	}
	f := &model.Fault{FromHeaders: v.flag("fromHeaders")}
	delay, abort := v.get("delay"), v.get("abort")
	if f.FromHeaders {
		r.asked(f, v)
		return f
	}
	if delay != nil {
		f.Delay, _ = r.duration(delay, "duration")
		f.DelayPerMillion = r.share(delay)
		r.require(delay, "duration", "duration: 300ms")
		r.require(delay, "percent", "percent: 10")
	}
	if abort != nil {
		if code := abort.get("code"); code != nil {
			f.AbortCode = r.code(code)
		}
		f.AbortPerMillion = r.share(abort)
		r.require(abort, "code", "code: unavailable")
		r.require(abort, "percent", "percent: 10")
	}
	if delay == nil && abort == nil {
		r.errorf(v.path, v.pos, "does nothing: write delay or abort, or remove it")
	}
	return f
}

// asked reads a fault that callers ask for: of both kinds where it names none, and
// for all of them where it says no share.
func (r *reader) asked(f *model.Fault, v *value) {
	delay, abort := v.get("delay"), v.get("abort")
	part := func(v *value, other *value, own string) uint32 {
		switch {
		case v == nil && other == nil:
			return allCalls
		case v == nil:
			return 0
		}
		if said := v.get(own); said != nil {
			r.errorf(said.path, said.pos, "comes from the header where fromHeaders is true: remove it")
		}
		if v.get("percent") == nil {
			return allCalls
		}
		return r.share(v)
	}
	f.DelayPerMillion = part(delay, abort, "duration")
	f.AbortPerMillion = part(abort, delay, "code")
}

const allCalls = 1_000_000

// require reports a field that is missing.
func (r *reader) require(v *value, name, write string) {
	if !v.said[name] {
		r.errorf(join(v.path, name), v.pos, "is missing: write %s", write)
	}
}

func (m *mapping) fault(key string, f *model.Fault) {
	if f == nil {
		return
	}
	var fault mapping
	fault.flag("fromHeaders", f.FromHeaders)
	if f.DelayPerMillion != 0 || f.Delay != 0 {
		var delay mapping
		if !f.FromHeaders {
			delay.raw("duration", formatDuration(f.Delay))
		}
		delay.raw("percent", formatShare(f.DelayPerMillion))
		fault.put("delay", delay)
	}
	if f.AbortPerMillion != 0 || f.AbortCode != 0 {
		var abort mapping
		if !f.FromHeaders {
			code := strconv.FormatUint(uint64(f.AbortCode), 10)
			if int(f.AbortCode) < len(codes) && f.AbortCode > 0 {
				code = codes[f.AbortCode]
			}
			abort.text("code", code)
		}
		abort.raw("percent", formatShare(f.AbortPerMillion))
		fault.put("abort", abort)
	}
	m.put(key, fault)
}
