package operator

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/source/gittest"
)

func TestRealGit(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("shop.git")
	server := gittest.ServeHTTP(t, root, gittest.HTTPOptions{User: "skep", Password: "pa55word"})
	password := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(password, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong")
	first := repo.Write(map[string]string{"apps/a/compose.yml": web("web:1")})
	tenant := Tenant{Name: "shop", Repo: server.URL + "/shop.git", Path: "apps", Prefix: "shop-", Username: "skep", PasswordFile: password, Resolve: "never"}
	other := tenant
	other.Name, other.Prefix = "twin", "twin-"
	swarm := swarmtest.New()
	log := &lockedBuffer{}
	op, err := New(Config{Cluster: "test", Instance: "test", Interval: time.Second, Cache: t.TempDir(), Tenants: []Tenant{tenant, other}}, swarm, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- op.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	until := func(claim string, holds func(Status) bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !holds(op.Status()); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not %s: %+v\n%s", claim, op.Status().Stacks, log)
			}
		}
	}
	deployed := func(commit string) func(Status) bool {
		return func(s Status) bool {
			n := 0
			for _, k := range s.Stacks {
				if k.Stack != "" && k.Deployed == commit && k.Sync == Synced {
					n++
				}
			}
			return n == 2
		}
	}
	until("refused", func(s Status) bool {
		return len(s.Tenants) == 2 && s.Tenants[0].Cause == "auth" && s.Tenants[1].Cause == "auth"
	})
	write("pa55word")
	until("deployed for both tenants", deployed(first))
	second := repo.Write(map[string]string{"apps/a/compose.yml": web("web:2")})
	op.Trigger("")
	until("deployed for both tenants", deployed(second))
	if n := server.Packs(); n > 3 {
		t.Errorf("%d packs fetched for two tenants and two commits", n)
	}
}
