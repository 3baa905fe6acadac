package deploy

import "time"

// Aged gives p as if its look had been taken at that time.
func Aged(p Plan, taken time.Time) Plan {
	p.taken = taken
	return p
}
