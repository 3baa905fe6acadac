package operator

import (
	"context"
	"time"
)

// flushTime bounds how long an operator that was told to end writes down what it
// knows.
const flushTime = 3 * time.Second

// flush writes the memories that are not written yet, so that the next process
// goes on where this one ends: with the same start of each alert, above all.
// A job on its way has its own copy of what is known; if it got as far as writing
// that, the version of the memory is another one and this write is refused. What
// can't be written in time is found again by looking.
func (l *loop) flush(ctx context.Context) {
	if !l.swarmReadable() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	for _, k := range l.order {
		k.fresh = 0 // no newer look will come
	}
	l.rememberAlerts(l.alerts)
	for _, k := range l.order {
		if !k.met || k.conflict != "" || !k.dirty() {
			continue
		}
		if r := l.job(k, jobSave, time.Now()).run(ctx, l.o.w); r.err != nil && kindOf(r.err) != errStale {
			l.o.log.Warn("memory not written at the end", "tenant", k.tenant, "stack", k.stack, "err", r.err)
			return
		}
	}
}
