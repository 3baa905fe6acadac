package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/skep-gitops/skep/e2e/lab"
	"github.com/skep-gitops/skep/source/gittest"
)

// strict is an operator with one tenant, a, on a server that gives out what its
// branches hold and no commit by its hash.
func strict(t *testing.T, first map[string]string) (*tenant, *gittest.Repo) {
	t.Helper()
	root := gittest.NewRoot(t)
	r := &remote{name: "a", server: gittest.ServeHTTP(t, root, gittest.HTTPOptions{}).URL}
	tn := remotes(t, []*remote{r}, root, first)
	for _, key := range []string{"allowAnySHA1InWant", "allowReachableSHA1InWant", "allowTipSHA1InWant"} {
		r.repo.Git("config", "uploadpack."+key, "false")
	}
	return tn, r.repo
}

// rewrite makes files an unrelated history of the branch, and the server forget
// everything else.
func rewrite(repo *gittest.Repo, files map[string]string) string {
	commit := repo.Commit(gittest.Change{Orphan: true, Clear: true, Write: files})
	repo.Git("reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
	repo.Git("gc", "--quiet", "--prune=now")
	return commit
}

// restartEmpty starts the operator again with nothing in its cache.
func (tn *tenant) restartEmpty() {
	tn.Helper()
	tn.must(tn.skep.Stop())
	tn.removeAll(tn.skep.Cache)
	tn.start()
}

// TestRollbackDeepens goes back to a commit that is only reached by fetching
// more and more of the branch's history.
func TestRollbackDeepens(t *testing.T) {
	t.Parallel()
	tn, repo := strict(t, map[string]string{"web/stack.yml": plain("hostname: first")})
	first := repo.Head("main")
	tn.start()
	tn.live("a-web", first)
	changes := make([]gittest.Change, 70)
	for i := range changes {
		changes[i] = gittest.Change{Write: map[string]string{"web/stack.yml": plain(fmt.Sprintf("hostname: h%d", i))}}
	}
	commits := repo.Commits(changes...)
	near, last := commits[len(commits)-10], commits[len(commits)-1]
	tn.live("a-web", last)
	tn.restartEmpty()
	tn.live("a-web", last)
	for commit, hostname := range map[string]string{near: "h60", first: "first"} {
		tn.verb("rollback", tn.stack("a-web"), commit, "--reason", "the last one is slow")
		tn.hostname("a-web", hostname)
		tn.wait(tn.stack("a-web"), func(s lab.Stack) bool { return s.Deployed == commit && s.Health == "healthy" && s.Reason == "" })
	}
	tn.verb("unpin", tn.stack("a-web"))
	tn.live("a-web", last)
	tn.hostname("a-web", "h69")
	tn.quiet()
}

// TestRollbackToALostCommit says that the server no longer has a commit, and
// leaves the stack as it is.
func TestRollbackToALostCommit(t *testing.T) {
	t.Parallel()
	tn, repo := strict(t, map[string]string{"web/stack.yml": plain("hostname: first")})
	first := repo.Head("main")
	tn.start()
	tn.live("a-web", first)
	second := rewrite(repo, map[string]string{"web/stack.yml": plain("hostname: second")})
	tn.live("a-web", second)
	tn.restartEmpty()
	tn.live("a-web", second)
	ran := tn.tasks("a-web", "web")

	tn.verb("rollback", tn.stack("a-web"), first, "--reason", "the new one is slow")
	st := tn.wait(tn.stack("a-web"), func(s lab.Stack) bool { return s.Cause == "missing-commit" })
	tn.said(st.Message, first, "neither given out by the server nor among the newest 500")
	if st.Sync != "out-of-sync" || st.Health != "healthy" {
		t.Errorf("status: %s", st)
	}
	tn.said(tn.verb("status"), first[:10], "neither given out by the server")
	a := tn.fires("SkepStackFailed", tn.stack("a-web"))
	tn.said(a.Annotations["description"], first)
	cycles := tn.counts().Cycles
	tn.eventually("five cycles", func() (bool, string) { return tn.counts().Cycles >= cycles+5, "" })
	if now := tn.tasks("a-web", "web"); now != ran {
		t.Errorf("tasks %s, want %s as before", now, ran)
	}
	tn.verb("unpin", tn.stack("a-web"))
	tn.live("a-web", second)
	tn.quiet()
	if now := tn.tasks("a-web", "web"); now != ran {
		t.Errorf("tasks %s after unpin, want %s as before", now, ran)
	}
}

// pair is a stack that goes back as a whole, of a service that carries a version
// and one that runs a command.
func pair(version, command string) map[string]string {
	return map[string]string{"web/stack.yml": "x-skep: {rollback: true}\nservices:\n" +
		service("steady", "environment: {V: '"+version+"'}") + service("shaky", "command: ["+command+"]")}
}

// version is what steady runs of a pair.
func (tn *tenant) version() string {
	tn.Helper()
	return strings.Join(tn.service("a-web", "steady").Spec.TaskTemplate.ContainerSpec.Env, " ")
}

// isBack waits until the pair runs its first version and says why.
func (tn *tenant) isBack(commit string, words ...string) {
	tn.Helper()
	tn.wait(tn.stack("a-web"), func(s lab.Stack) bool {
		shaky := tn.service("a-web", "shaky").Spec.TaskTemplate.ContainerSpec.Args
		silent := func(w string) bool { return !strings.Contains(s.Message, w) }
		return s.Reason == "RolledBack" && s.Commit == commit && s.Health == "healthy" && tn.version() == "V=1" &&
			slices.Equal(shaky, []string{"serve"}) && !slices.ContainsFunc(words, silent)
	})
	tn.fires("SkepStackFailed", tn.stack("a-web"))
}

// stays checks that what runs of the pair is not touched for some cycles.
func (tn *tenant) stays() {
	tn.Helper()
	steady, shaky := tn.service("a-web", "steady").Version, tn.service("a-web", "shaky").Version
	cycles := tn.counts().Cycles
	tn.eventually("five cycles", func() (bool, string) { return tn.counts().Cycles >= cycles+5, "" })
	if a, b := tn.service("a-web", "steady").Version, tn.service("a-web", "shaky").Version; a != steady || b != shaky {
		tn.Errorf("versions %v and %v, want %v and %v as before", a, b, steady, shaky)
	}
}

// TestGoodCommitIsLost: a rollout fails after the commit to go back to is gone
// from the server and the cache: Swarm puts each service back.
func TestGoodCommitIsLost(t *testing.T) {
	t.Parallel()
	tn, repo := strict(t, pair("1", "serve"))
	good := repo.Head("main")
	tn.start()
	tn.wait(tn.stack("a-web"), func(s lab.Stack) bool { return s.Deployed == good && s.Health == "healthy" })
	tn.must(tn.skep.Stop())
	bad := rewrite(repo, pair("2", "crash"))
	tn.removeAll(tn.skep.Cache)
	tn.start()
	tn.isBack(bad, good[:10], "no longer to be had", "Swarm put each service back")
	tn.stays()
	tn.restartEmpty()
	tn.isBack(bad, good[:10], "no longer to be had")
	tn.stays()
	next := repo.Write(pair("3", "serve"))
	tn.live("a-web", next)
	tn.quiet()
}

// TestGoodCommitIsLostLater: the stack went back to its good commit, and only
// then that is gone from the server and the cache: what runs stays.
func TestGoodCommitIsLostLater(t *testing.T) {
	t.Parallel()
	tn, repo := strict(t, pair("1", "serve"))
	good := repo.Head("main")
	tn.start()
	tn.wait(tn.stack("a-web"), func(s lab.Stack) bool { return s.Deployed == good && s.Health == "healthy" })
	bad := repo.Write(pair("2", "crash"))
	tn.isBack(bad)
	tn.must(tn.skep.Stop())
	gone := rewrite(repo, pair("2", "crash"))
	tn.removeAll(tn.skep.Cache)
	tn.start()
	tn.isBack(gone)
	tn.stays()
	next := repo.Write(pair("3", "serve"))
	tn.live("a-web", next)
	tn.quiet()
}
