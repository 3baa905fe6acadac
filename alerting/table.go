package alerting

import (
	"maps"
	"time"
)

// entry is one alert as it is sent; nobody writes to it.
type entry struct {
	alert    Alert
	resolved time.Time // zero while it fires
}

// table is what there is to tell, by fingerprint. Nobody writes to a table that
// was handed out.
type table map[string]*entry

// after is the table once firing is all that fires: what else fired is resolved,
// and what has been resolved for longer than repeat is forgotten.
func (t table) after(firing []Alert, now time.Time, repeat time.Duration) table {
	next := make(table, len(firing))
	for _, a := range firing {
		key := a.Fingerprint()
		old := t[key]
		if old != nil && old.resolved.IsZero() {
			a.StartsAt = old.alert.StartsAt
		}
		if old != nil && old.resolved.IsZero() && maps.Equal(old.alert.Annotations, a.Annotations) {
			next[key] = old
			continue
		}
		next[key] = &entry{alert: a}
	}
	for key, old := range t {
		if next[key] != nil {
			continue
		}
		if old.resolved.IsZero() {
			old = &entry{old.alert, now}
		}
		if now.Sub(old.resolved) < repeat {
			next[key] = old
		}
	}
	return next
}
