package operator

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/skep-gitops/skep/deploy"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestGuards(t *testing.T) {
	t.Parallel()
	web := map[string]string{"web": "web:1"}
	old := &blocked{Commit: "0123456789abcdef", Why: "before"}
	for _, c := range []struct {
		name    string
		view    tenantView
		leavers []leaver
		want    []string // that stay
	}{
		{"one of three goes", tenantView{stays: 2}, []leaver{{name: "a"}}, nil},
		{"two of three go", tenantView{stays: 1}, []leaver{{name: "a"}, {name: "b"}}, nil},
		{"three of six go", tenantView{stays: 3}, []leaver{{name: "a"}, {name: "b"}, {name: "c"}}, nil},
		{"three of five stay", tenantView{stays: 2}, []leaver{{name: "a"}, {name: "b"}, {name: "c"}}, []string{"a", "b", "c"}},
		{"the last one stays", tenantView{}, []leaver{{name: "a"}}, []string{"a"}},
		{"confirm keeps its own only", tenantView{stays: 5}, []leaver{{name: "a", prune: "confirm"}, {name: "b"}}, []string{"a"}},
		{"what was blocked stays so", tenantView{stays: 5}, []leaver{{name: "a", blocked: old}}, []string{"a"}},
		{"until its commit is confirmed", tenantView{stays: 5, confirmed: "0123456789"}, []leaver{{name: "a", blocked: old}}, nil},
		{"a confirmation of another commit is none", tenantView{stays: 5, confirmed: "fedcba98"}, []leaver{{name: "a", blocked: old}}, []string{"a"}},
		{"one that is too short is none", tenantView{stays: 5, confirmed: "012345"}, []leaver{{name: "a", blocked: old}}, []string{"a"}},
		{"a confirmation allows what is blocked at its commit at once", tenantView{commit: "0123456789abcdef", confirmed: "0123456789abcdef"}, []leaver{{name: "a"}}, nil},
		{"a rename", tenantView{stays: 3, newcomers: map[string]map[string]string{"b": web}}, []leaver{{name: "a", services: web}}, []string{"a"}},
		{"another image is no rename", tenantView{stays: 3, newcomers: map[string]map[string]string{"b": {"web": "web:2"}}}, []leaver{{name: "a", services: web}}, nil},
		{"newcomers don't make up for what goes", tenantView{stays: 4, newcomers: map[string]map[string]string{"x": {}, "y": {}}}, []leaver{{name: "a"}, {name: "b"}, {name: "c"}}, []string{"a", "b", "c"}},
	} {
		var got []string
		for name := range c.view.judge(c.leavers, noon) {
			got = append(got, name)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q stay, want %q", c.name, got, c.want)
		}
	}
}

func TestBackoffDoubles(t *testing.T) {
	t.Parallel()
	for tries, want := range map[int]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 3: 40 * time.Second, 7: 10 * time.Minute, 1000: 10 * time.Minute} {
		if got := backoff(tries); got != want {
			t.Errorf("backoff(%d) = %s, want %s", tries, got, want)
		}
	}
	for range 1000 {
		if d := jitter(time.Minute); d < 54*time.Second || d > 66*time.Second {
			t.Fatalf("jitter(1m) = %s", d)
		}
	}
}

func TestRecordStaysSmall(t *testing.T) {
	t.Parallel()
	var r record
	for i := range 100 {
		r.add(Entry{Time: noon, Commit: strings.Repeat("c", 40), Author: strings.Repeat("ä", 300), Subject: strings.Repeat("s", 500), Text: strings.Repeat("t", 5000),
			Changes: slices.Repeat([]string{strings.Repeat("x", 300)}, 50), Trigger: fmt.Sprint(i)})
	}
	b := r.encode()
	if len(b) > maxRecord || !json.Valid(b) {
		t.Errorf("%d bytes", len(b))
	}
	got := parseRecord[record](deploy.Memory{State: b})
	if n := len(got.History); n == 0 || got.History[n-1].Trigger != "99" {
		t.Errorf("the newest entry is lost: %d entries", n)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"target":"a","failed":{"hash":"h","held":true},"history":[{"commit":"c","trigger":"git","result":"deployed"}]}`))
	f.Add([]byte(`{"history":[null],"alerts":{"x":"2026-01-02T03:04:05Z"}}`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`{"attempt":{"services":{"a":-1}}}`))
	f.Fuzz(func(t *testing.T, state []byte) {
		r := parseRecord[record](deploy.Memory{State: state})
		r.add(Entry{Time: noon, Commit: "c"})
		again := r.encode()
		if len(again) > maxRecord && len(state) < maxRecord {
			return // a hand-made record that is nearly too large by itself
		}
		if n := len(parseRecord[record](deploy.Memory{State: again}).History); n == 0 || n > maxHistory {
			t.Errorf("%d entries", n)
		}
	})
}

func TestAlertTable(t *testing.T) {
	t.Parallel()
	rule := AlertRule{Name: "X", For: 30 * time.Second, Keep: time.Minute}
	on := []condition{{rule: rule, tenant: "t", stack: "s", since: noon}}
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	firing := func(tb table) bool { return len(tb.firing(Config{})) == 1 }

	tb := table{}.advance(on, at(0))
	if firing(tb) || !tb.next(at(0)).Equal(at(30)) {
		t.Errorf("pending: firing %v, next %s", firing(tb), tb.next(at(0)))
	}
	if gone := tb.advance(nil, at(10)); len(gone) != 0 {
		t.Errorf("a pending one that passes leaves %v", gone)
	}
	tb = tb.advance(on, at(30))
	if !firing(tb) {
		t.Error("not firing after its time")
	}
	start := tb.firing(Config{})[0].StartsAt
	tb = tb.advance(nil, at(40))
	if !firing(tb) || !tb.next(at(40)).Equal(at(90)) {
		t.Errorf("kept: firing %v, next %s", firing(tb), tb.next(at(40)))
	}
	tb = tb.advance(on, at(50)).advance(on, at(100))
	if got := tb.firing(Config{})[0].StartsAt; !got.Equal(start) {
		t.Errorf("starts at %s, want %s", got, start)
	}
	if tb = tb.advance(nil, at(120)).advance(nil, at(160)); firing(tb) {
		t.Error("firing after it was kept long enough")
	}
	known := on
	known[0].known = noon.Add(-time.Hour)
	if got := (table{}).advance(known, at(0)).firing(Config{})[0].StartsAt; !got.Equal(known[0].known) {
		t.Errorf("starts at %s, want what is remembered", got)
	}
}

func TestAlertLabels(t *testing.T) {
	t.Parallel()
	c := Config{Cluster: "prod", Tenants: []Tenant{{Name: "shop", Labels: map[string]string{"team": "x", "severity": "none", "tenant": "other", "stack": "y", "alertname": "z", "cluster": "c"}}}}
	s := Status{at: noon, Started: noon, Config: "bad", Swarm: "gone", swarmSince: noon.Add(-time.Hour),
		Tenants: []TenantStatus{{Tenant: "shop", Reason: FetchFailed, Cause: "auth", Since: noon}},
		Stacks: []StackStatus{
			{Tenant: "shop", Reason: FetchFailed},
			{Tenant: "shop", Stack: "a", Reason: RolledBack, Health: "degraded", Since: noon, Commit: "c1"},
			{Tenant: "shop", Stack: "b", Health: "degraded", Since: noon.Add(-time.Hour)},
			{Tenant: "shop", Stack: "c", Reason: Conflict, Since: noon},
			{Tenant: "shop", Stack: "d", Reason: PruneBlocked, Since: noon},
			{Tenant: "shop", Stack: "e", Reason: DependencyNotReady, Cause: "stack", Since: noon},
			{Tenant: "shop", Stack: "f", Drift: []string{"x"}, Since: noon},
			{Tenant: "shop", Stack: "g", Drift: []string{"x"}, Fought: true, Since: noon},
			{Tenant: "shop", Stack: "h", Drift: []string{"x"}, Frozen: &Hold{Since: noon.Add(-25 * time.Hour)}, Since: noon},
			{Tenant: "shop", Stack: "i", Pinned: &Hold{Since: noon.Add(-8 * 24 * time.Hour)}, Since: noon},
		}}
	var got []string
	for _, a := range (table{}).advance(conditions(s, c), noon).firing(c) {
		l := a.Labels
		got = append(got, strings.Join([]string{l["alertname"], l["severity"], l["cluster"], l["tenant"], l["stack"], l["team"]}, "|"))
	}
	want := []string{
		"SkepConfigInvalid|warning|prod|||",
		"SkepConflict|warning|prod|shop|c|x",
		"SkepDrift|info|prod|shop|f|x",
		"SkepDriftFight|warning|prod|shop|g|x",
		"SkepFrozenTooLong|info|prod|shop|h|x",
		"SkepPinnedTooLong|info|prod|shop|i|x",
		"SkepPruneBlocked|warning|prod|shop|d|x",
		"SkepSourceFailed|warning|prod|shop||x",
		"SkepStackDegraded|critical|prod|shop|b|x",
		"SkepStackFailed|critical|prod|shop|a|x",
		"SkepSwarmUnreachable|critical|prod|||",
		"SkepWatchdog|none|prod|||",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, name := range got {
		if !slices.ContainsFunc(AlertRules(), func(r AlertRule) bool { return strings.HasPrefix(name, r.Name+"|") && r.Summary != "" }) {
			t.Errorf("%s is not in the catalogue", name)
		}
	}
}

func TestInputHash(t *testing.T) {
	t.Parallel()
	tree := func(files map[string]string) treeFS {
		m := fstest.MapFS{}
		for n, s := range files {
			m[n] = &fstest.MapFile{Data: []byte(s)}
		}
		return treeFS{m}
	}
	base := map[string]string{"a/compose.yml": "x", "a/other": "o", ".env": "E=1", "b/compose.yml": "y"}
	read := func(fsys fs.FS) {
		sub, err := fs.Sub(fsys, "a")
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{errOf(fs.ReadFile(sub, "compose.yml")), errOf(fs.ReadFile(fsys, ".env")), errOf(fs.ReadDir(fsys, "a"))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := fs.Stat(fsys, "production.env"); err == nil {
			t.Fatal("production.env is there")
		}
	}
	watched, names := watchReads(tree(base))
	read(watched)
	hash := func(files map[string]string) string {
		h, err := inputHash(tree(files), names.sorted(), "options")
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	was := hash(base)
	for _, c := range []struct {
		file, text string
		same       bool
	}{
		{"a/compose.yml", "z", false}, {".env", "E=2", false}, {"production.env", "P=1", false}, {"a/new", "n", false},
		{"a/other", "changed", true}, {"b/compose.yml", "z", true}, {"c/compose.yml", "z", true},
	} {
		files := map[string]string{c.file: c.text}
		for n, s := range base {
			if n != c.file {
				files[n] = s
			}
		}
		if got := hash(files) == was; got != c.same {
			t.Errorf("%s = %q: same = %v", c.file, c.text, got)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestWithoutCredentials(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://user:pass@git.example.com/a@b/c.git": "https://git.example.com/a@b/c.git",
		"ssh://git@host:22/x":                         "ssh://host:22/x",
		"git@host:x/y.git":                            "git@host:x/y.git",
		"file:///srv/x":                               "file:///srv/x",
	} {
		if got := withoutCredentials(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
