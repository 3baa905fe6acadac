package stack

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

const (
	maxHostname = 64        // bytes; sethostname(2)
	maxSignal   = 64        // the last real-time signal of Linux
	maxID       = 1<<31 - 1 // of users and groups; runc takes no higher one
)

// checkProcess refuses what keeps a container's process from being started, on
// any node: the task would fail again and again.
func (s *scope) checkProcess() {
	s.checkNUL("", s.dict)
	s.checkSignal()
	s.checkHostname()
	s.checkUser()
	if d := s.svc.WorkingDir; d != "" && !isAbs(d) {
		s.errorf("working_dir", "%q is not an absolute path", d)
	}
	s.checkCapabilities("cap_add", s.svc.CapAdd)
	s.checkCapabilities("cap_drop", s.svc.CapDrop)
}

// checkNUL looks at every text of the service, at any depth. Its variables, which
// come from files too, are looked at where they are collected.
func (s *scope) checkNUL(key string, v any) {
	switch v := v.(type) {
	case string:
		if strings.ContainsRune(v, 0) {
			s.errorf(key, "holds a NUL byte, which no process can be given")
		}
	case []any:
		for i, e := range v {
			s.checkNUL(join(key, strconv.Itoa(i)), e)
		}
	case map[string]any:
		for _, k := range sortedKeys(v) {
			if sub := join(key, k); sub != "environment" {
				s.checkNUL(sub, v[k])
			}
		}
	}
}

// control says that a text holds a control character other than NUL, which
// checkNUL has told of.
func control(text string) bool {
	return strings.ContainsFunc(text, unicode.IsControl) && !strings.ContainsRune(text, 0)
}

func (s *scope) checkHostname() {
	switch h := s.svc.Hostname; {
	case control(h):
		s.errorf("hostname", "%q holds a control character", h)
	case len(h) > maxHostname && !strings.Contains(h, "{{"):
		s.errorf("hostname", "has %d bytes, Linux takes %d", len(h), maxHostname)
	}
}

// checkUser looks at the form alone: which names there are, only the image knows.
func (s *scope) checkUser() {
	if control(s.svc.User) {
		s.errorf("user", "%q holds a control character", s.svc.User)
		return
	}
	user, group, _ := strings.Cut(s.svc.User, ":")
	for _, id := range []string{user, group} {
		if n, err := strconv.ParseInt(id, 10, 64); err == nil && (n < 0 || n > maxID) {
			s.errorf("user", "%q is not between 0 and %d", id, maxID)
		}
	}
}

// signals are those of Linux by name, without SIG (moby/sys/signal); realTime are
// the others.
var (
	signals = setOf(`ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS
		TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ`)
	realTime = regexp.MustCompile(`^(RTMIN(\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?)$`)
)

func (s *scope) checkSignal() {
	text := s.svc.StopSignal
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > maxSignal {
			s.errorf("stop_signal", "signal %q is not between 1 and %d", text, maxSignal)
		}
		return
	}
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if text != "" && !signals[name] && !realTime.MatchString(name) && !strings.ContainsRune(text, 0) {
		s.errorf("stop_signal", "%q is not a signal that Linux knows, such as SIGTERM, SIGINT or SIGQUIT", text)
	}
}

// capabilities are those of Linux, without CAP_ (capabilities(7)).
var capabilities = setOf(`AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE
	DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN
	NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT
	SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM`)

func (s *scope) checkCapabilities(key string, names []string) {
	for _, given := range names {
		for c := range capabilitySet([]string{given}) {
			if name, ok := strings.CutPrefix(c, "CAP_"); ok && !capabilities[name] && !strings.ContainsRune(c, 0) {
				s.errorf(key, "there is no capability %q%s", given, suggest(c, capNames()))
			}
		}
	}
}

// capNames are the capabilities as they are written in full.
func capNames() []string {
	out := sortedKeys(capabilities)
	for i := range out {
		out[i] = "CAP_" + out[i]
	}
	return out
}

// setOf is the set of a text's words.
func setOf(text string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(text) {
		set[w] = true
	}
	return set
}
