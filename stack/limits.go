package stack

import (
	"fmt"
	"regexp"
	"strconv"
)

// What one stack may cost. compose-go's time grows with the square of the
// nodes and it ignores its context, so everything is bounded before it starts.
const (
	maxFile    = 1 << 20  // bytes of a YAML, env or label file
	maxContent = 2 << 20  // bytes of a secret's or config's file; Swarm's own limits are lower
	maxFiles   = 200      // files read for one stack
	maxDepth   = 64       // of nested mappings and lists
	maxNodes   = 20_000   // in one file, aliases written out
	maxTotal   = 40_000   // nodes of all files of one stack
	maxKey     = 1000     // bytes of one key
	maxPorts   = 2000     // published ports of one stack, ranges written out
	maxValue   = 1 << 20  // bytes of one value after interpolation
	maxBytes   = 8 << 20  // bytes of all values of one file, aliases and variables written out
	maxRead    = 64 << 20 // bytes read for one stack, a file that is named twice counted twice
	maxWords   = 20       // variables inside the words of one another
	maxText    = 1000     // bytes of one finding's text
	maxFinding = 200      // errors, and warnings, of one stack
)

// portRange finds the ranges in a ports or expose entry such as 8080-8090:80.
var portRange = regexp.MustCompile(`(\d{1,5})-(\d{1,5})`)

// portCount says how many ports a ports or expose entry stands for.
func portCount(entry string) (int, error) {
	most := 1
	for _, m := range portRange.FindAllStringSubmatch(entry, 2) {
		from, _ := strconv.Atoi(m[1]) // five digits always parse
		to, _ := strconv.Atoi(m[2])
		if to < from {
			return 0, fmt.Errorf("port range %s ends before it starts", m[0])
		}
		most = max(most, to-from+1)
	}
	if most > maxPorts {
		return 0, fmt.Errorf("range of %d ports; a stack may publish at most %d", most, maxPorts)
	}
	return most, nil
}
