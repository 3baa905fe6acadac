package operator

import (
	"strings"
	"time"
)

// leaves says that what differs is shown, not written: the stack is frozen, or
// what differs is drift and it is the stack's wish to leave it.
func (l *loop) leaves(k *kept, now time.Time) bool {
	if k.frozen(now) != nil {
		return true
	}
	drift := l.drifts(k)
	return drift && (l.driftOf(k) != "heal" || l.fought(k, now))
}

// drifts says that whatever differs is drift: what git asks was written already.
func (l *loop) drifts(k *kept) bool {
	a := k.rec.Attempt
	return k.rec.Applied == k.goal.rev.hash && (a == nil || a.Hash == k.goal.rev.hash && a.Told)
}

// driftOf is what is done about drift: the stack's wish, else the tenant's.
func (l *loop) driftOf(k *kept) string {
	return firstOf(k.goal.want.Wishes.Drift, l.tenants[k.tenant].Drift, "heal")
}

// It is a fight when the same field was healed fightHeals times within fightWindow.
const (
	fightHeals  = 3
	fightWindow = 10 * time.Minute
)

// fought says that somebody keeps changing what is healed: then healing pauses,
// longer and longer, instead of going on for ever.
func (l *loop) fought(k *kept, now time.Time) bool {
	heals, last := fights(k.rec.History, now)
	if heals < fightHeals {
		return false
	}
	return now.Before(last.Add(min(time.Duration(1<<min(heals-fightHeals, 4))*time.Minute, fightWindow-time.Minute)))
}

// fights counts the heals of the field that was healed most in the last minutes,
// and tells when it was healed last.
func fights(history []Entry, now time.Time) (int, time.Time) {
	count := map[string]int{}
	most, last := 0, time.Time{}
	for _, e := range history {
		if e.Result != "healed" || now.Sub(e.Time) > fightWindow {
			continue
		}
		for _, c := range e.Changes {
			field, _, _ := strings.Cut(c, ": ")
			if count[field]++; count[field] >= most {
				most, last = count[field], e.Time
			}
		}
	}
	return most, last
}
