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
		f, bad := &fakePeers{}, true
		f.setFault(func(string, []string) (int, error) {
			if bad {
				return 0, errors.New("connection refused")
			}
			return 0, nil
		})
		var b bytes.Buffer
		c := newClient(t, f, Options{Log: slog.New(slog.NewTextHandler(&b, nil))}, "am")
		stop := running(t, c)
		c.Set(firing("A"))
		pass(5 * time.Minute)
		synctest.Wait()
		bad = false
		pass(5 * time.Minute)
		stop()
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "does not take alerts") || !strings.Contains(lines[0], "connection refused") ||
			!strings.Contains(lines[0], "http://am") || !strings.Contains(lines[1], "takes alerts again") {
			t.Errorf("log:\n%s", b.String())
		}
	})
}
