package stack

import (
	"errors"
	"strings"
	"testing"
)

// TestProcess has what a container's process is started with: words that make
// every task fail, whatever the node, are refused before anything is written.
func TestProcess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		want       string // part of the only error; empty: none
	}{
		{name: "a signal", body: "stop_signal: SIGUSR1"},
		{name: "a signal in small letters, without SIG", body: "stop_signal: quit"},
		{name: "a signal's number", body: "stop_signal: '15'"},
		{name: "real-time signals", body: "stop_signal: SIGRTMIN+3"},
		{name: "the last real-time signal", body: "stop_signal: RTMAX-14"},
		{name: "an unknown signal", body: "stop_signal: SIGNOPE", want: `"SIGNOPE" is not a signal that Linux knows, such as SIGTERM, SIGINT or SIGQUIT`},
		{name: "no signal", body: "stop_signal: '0'", want: `signal "0" is not between 1 and 64`},
		{name: "a signal beyond the last", body: "stop_signal: '65'", want: `signal "65" is not between 1 and 64`},
		{name: "a negative signal", body: "stop_signal: '-9'", want: `signal "-9" is not between 1 and 64`},
		{name: "a real-time signal beyond the last", body: "stop_signal: SIGRTMIN+16", want: "is not a signal that Linux knows"},

		{name: "a host name of 64 bytes", body: "hostname: " + strings.Repeat("h", 64)},
		{name: "a host name of 65 bytes", body: "hostname: " + strings.Repeat("h", 65), want: "has 65 bytes, Linux takes 64"},
		{name: "a host name that is a template", body: "hostname: '{{.Node.Hostname}}" + strings.Repeat("h", 60) + "'"},
		{name: "a host name with a line break", body: `hostname: "a\nb"`, want: `"a\nb" holds a control character`},
		{name: "a host name with a NUL byte", body: `hostname: "a\0b"`, want: "holds a NUL byte"},

		{name: "a user and a group", body: "user: www:www"},
		{name: "the highest user and group", body: "user: '2147483647:2147483647'"},
		{name: "a user beyond the highest", body: "user: '2147483648'", want: `"2147483648" is not between 0 and 2147483647`},
		{name: "a group beyond the highest", body: "user: '0:4294967295'", want: `"4294967295" is not between 0 and 2147483647`},
		{name: "a negative user", body: "user: '-5'", want: `"-5" is not between 0 and 2147483647`},
		{name: "a user with a line break", body: `user: "a\n"`, want: `"a\n" holds a control character`},

		{name: "an absolute folder", body: "working_dir: /srv/app"},
		{name: "a folder of Windows", body: `working_dir: 'C:\app'`},
		{name: "a relative folder", body: "working_dir: app", want: `"app" is not an absolute path`},

		{name: "capabilities", body: "cap_add: [net_admin, CAP_BPF, ALL]\n    cap_drop: [ALL]"},
		{name: "an unknown capability", body: "cap_add: [NET_ADMN]", want: `there is no capability "NET_ADMN"; did you mean CAP_NET_ADMIN?`},
		{name: "an unknown capability to drop", body: "cap_drop: [EVERYTHING]", want: `there is no capability "EVERYTHING"`},

		{name: "a NUL byte in a command", body: `command: [serve, "a\0b"]`, want: "holds a NUL byte"},
		{name: "a NUL byte in a health check", body: `healthcheck: {test: ["CMD", "a\0b"]}`, want: "holds a NUL byte"},
		{name: "a NUL byte in a target", body: `tmpfs: ["/a\0b"]`, want: "holds a NUL byte"},
		{name: "a NUL byte in a label", body: `labels: {a: "a\0b"}`, want: "holds a NUL byte"},
		{name: "a NUL byte in a variable", body: `environment: {A: "a\0b"}`, want: "holds a NUL byte"},
		{name: "a line break in a variable", body: `environment: {A: "a\nb"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := renderFiles(t, map[string]string{"stack.yml": "services:\n  web:\n    image: a\n    " + c.body + "\n"}, Options{})
			if c.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var refused *RenderError
			if !errors.As(err, &refused) || len(refused.Findings) != 1 {
				t.Fatalf("got %v, want one error with %q", err, c.want)
			}
			if f := refused.Findings[0]; !strings.Contains(f.Text, c.want) || f.Position.String() != "stack.yml:4" || f.Service != "web" {
				t.Errorf("got %+v, want an error about web at stack.yml:4 with %q", f, c.want)
			}
		})
	}
}
