package stack

import (
	"math"
	"strconv"
	"strings"
)

// Docker API minor versions (1.N) from which an engine honours a field. An older
// one drops the field in silence (moby: adjustForAPIVersion, unknown JSON), so
// each is a warning or an error here.
const (
	apiFloor         = 41 // Engine 20.10: capabilities, ulimits, pids, jobs
	apiClusterMounts = 42
	apiPrivileges    = 44 // seccomp, AppArmor, no-new-privileges; also the health check's start_interval
	apiStartInterval = 44
	apiSubpath       = 45
	apiOomScoreAdj   = 46
	apiTmpfsOptions  = 46
	apiIPv6Pools     = 46 // from here on an IPv6 subnet is never allocated (moby/moby#48116)
)

// parseAPI gives N of 1.N. Empty is the newest engine; -1 is no API version.
func parseAPI(version string) int {
	if version == "" {
		return math.MaxInt
	}
	minor, ok := strings.CutPrefix(version, "1.")
	n, err := strconv.ParseUint(minor, 10, 16)
	if !ok || err != nil {
		return -1
	}
	return int(n)
}

// checkAPI refuses engines that skep does not know how to talk to.
func (c *converter) checkAPI(version string) {
	switch {
	case c.api < 0:
		c.stackError("Docker API version %q is not of the form 1.N", version)
	case c.api < apiFloor:
		c.stackError("Docker API %s is too old: skep needs 1.%d (Engine 20.10) on every node", version, apiFloor)
	}
}

// stackError is an error about the stack as a whole, at its first file.
func (c *converter) stackError(format string, args ...any) {
	c.errorf("", "services", format, args...)
}

// since says whether every engine has API 1.minor.
func (c *converter) since(minor int) bool { return c.api >= minor }
