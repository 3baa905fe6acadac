package alerting

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What goes wrong with a peer is one line of the log, and so is its end.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePeers{}
		f.setFault(func(string, []string) (int, error) { return 0, errors.New("connection refused") })
		var b bytes.Buffer
		c := newClient(t, f, Options{Log: slog.New(slog.NewTextHandler(&b, nil))}, "am")
		stop := running(t, c)
		c.Set(firing("A"))
		pass(5 * time.Minute)
		f.setFault(func(string, []string) (int, error) { return 0, nil })
		pass(5 * time.Minute)
		stop()
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "does not take alerts") || !strings.Contains(lines[0], "connection refused") ||
			!strings.Contains(lines[0], "http://am") || !strings.Contains(lines[1], "takes alerts again") {
			t.Errorf("log:\n%s", b.String())
		}
	})
}
