package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// step is one line of the story: what is done, and what must then be seen.
type step struct {
	title string
	do    func(context.Context) error
}

// patience bounds the wait for what must be seen.
const patience = 3 * time.Minute

// play tells the story. An error names the step that was not seen to happen.
func (s *stage) play(ctx context.Context) error {
	steps := []step{
		{"first push: two stacks run, a decrypted secret inside", s.firstPush},
		{"one secret changes: only the service that uses it restarts, the old secret stays as its roll-back target", s.secretChanges},
		{"the next change of that service: the old secret is gone", s.oldSecretGoes},
		{"a service removed by hand is back", s.serviceRemoved},
		{"a broken push: the old version still serves, one alert with file and line", s.brokenPush},
		{"an image that does not exist: the old version still serves, one alert with the reason", s.missingImage},
		{"the fix: resolved", s.fix},
		{"a folder deleted: its stack, networks, configs and secrets are gone", s.folderDeleted},
	}
	for i, st := range steps {
		begin := time.Now()
		if err := st.do(ctx); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, st.title, err)
		}
		s.say("%d. %s (%.1f s)", i+1, st.title, time.Since(begin).Seconds())
	}
	return nil
}

func (s *stage) firstPush(ctx context.Context) error {
	commit, err := s.repo.Push(ctx, "the shop opens", nil)
	if err != nil {
		return err
	}
	if err := s.live(ctx, commit, webStack, workerStack); err != nil {
		return err
	}
	return s.secretInside(ctx, "correct-horse-battery-staple")
}

func (s *stage) secretChanges(ctx context.Context) error {
	web, assets, worker, err := s.three(ctx)
	if err != nil {
		return err
	}
	commit, err := s.replace(ctx, "a new database password", "web/secrets.yaml", "")
	if err != nil {
		return err
	}
	if err := s.live(ctx, commit, webStack, workerStack); err != nil {
		return err
	}
	if err := s.secretInside(ctx, "a-new-and-better-password"); err != nil {
		return err
	}
	web2, assets2, worker2, err := s.three(ctx)
	switch {
	case err != nil:
		return err
	case web2.task == web.task:
		return errors.New("the service that uses the secret did not restart")
	case assets2 != assets:
		return errors.New("the service beside it restarted or was written")
	case worker2 != worker:
		return errors.New("the other stack was written")
	}
	return s.count(ctx, 2)
}

func (s *stage) oldSecretGoes(ctx context.Context) error {
	commit, err := s.replace(ctx, "version 2", ".env", "APP_IMAGE="+lab.AppImage+"\nWEB_VERSION=2\n")
	if err != nil {
		return err
	}
	if err := s.live(ctx, commit, webStack); err != nil {
		return err
	}
	return s.count(ctx, 1)
}

func (s *stage) serviceRemoved(ctx context.Context) error {
	_, assets, _, err := s.three(ctx)
	if err != nil {
		return err
	}
	if err := s.Docker.ServiceRemove(ctx, assets.id); err != nil {
		return err
	}
	err = lab.Poll(ctx, patience, func() (bool, string) {
		_, now, _, err := s.three(ctx)
		return err == nil && now.id != assets.id, "the service is not back"
	})
	if err != nil {
		return err
	}
	commit, err := s.repo.Head(ctx)
	if err != nil {
		return err
	}
	return s.live(ctx, commit, webStack)
}

func (s *stage) brokenPush(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(s.Root, "examples", "shop", "web", "stack.yml"))
	if err != nil {
		return err
	}
	return s.undisturbed(ctx, func() error {
		if _, err := s.replace(ctx, "a broken push", "web/stack.yml", string(text)+"\n  oops: [\n"); err != nil {
			return err
		}
		return s.fires(ctx, "web/stack.yml:")
	})
}

func (s *stage) missingImage(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(s.Root, "examples", "shop", "web", "stack.yml"))
	if err != nil {
		return err
	}
	return s.undisturbed(ctx, func() error {
		if _, err := s.replace(ctx, "an image that does not exist", "web/stack.yml", strings.Replace(string(text), "${APP_IMAGE}", "127.0.0.1:1/none:1", 1)); err != nil {
			return err
		}
		return s.fires(ctx, "127.0.0.1:1/") // No such image, or later engines of 29: connection refused
	})
}

// undisturbed says that f left web's task and the other services alone.
func (s *stage) undisturbed(ctx context.Context, f func() error) error {
	web, assets, worker, err := s.three(ctx)
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	web2, assets2, worker2, err := s.three(ctx)
	switch {
	case err != nil:
		return err
	case web2.task != web.task:
		return errors.New("the old version does not serve any more")
	case assets2 != assets || worker2 != worker:
		return errors.New("another service was touched")
	}
	return nil
}

func (s *stage) fix(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(s.Root, "examples", "shop", "web", "stack.yml"))
	if err != nil {
		return err
	}
	commit, err := s.replace(ctx, "the fix", "web/stack.yml", string(text))
	if err != nil {
		return err
	}
	if err := s.live(ctx, commit, webStack); err != nil {
		return err
	}
	return lab.Poll(ctx, patience, func() (bool, string) {
		list, err := lab.Firing(ctx, s.alerts, "demo")
		return err == nil && len(list) == 0, fmt.Sprint("firing: ", list, err)
	})
}

func (s *stage) folderDeleted(ctx context.Context) error {
	_, _, worker, err := s.three(ctx)
	if err != nil {
		return err
	}
	if _, err := s.repo.Push(ctx, "the web shop closes", nil, "web"); err != nil {
		return err
	}
	err = lab.Poll(ctx, patience, func() (bool, string) {
		o, err := s.Stack(ctx, webStack)
		return err == nil && o.Empty(), fmt.Sprint("left: ", o, err)
	})
	if err != nil {
		return err
	}
	now, err := s.one(ctx, workerStack, "worker")
	if err == nil && now != worker {
		err = errors.New("the other stack was touched")
	}
	return err
}

// replace writes one file (without text: the demo's second version of the
// secrets) and pushes it.
func (s *stage) replace(ctx context.Context, message, name, text string) (string, error) {
	if text == "" {
		b, err := os.ReadFile(filepath.Join(s.Root, "examples", "demo", "secrets-2.yaml"))
		if err != nil {
			return "", err
		}
		text = string(b)
	}
	return s.repo.Push(ctx, message, map[string]string{name: text})
}

// live waits until the stacks run as the commit asks.
func (s *stage) live(ctx context.Context, commit string, names ...string) error {
	return lab.Poll(ctx, patience, func() (bool, string) {
		list, err := s.stacks(ctx)
		if err != nil {
			return false, err.Error()
		}
		n, said := 0, ""
		for _, st := range list {
			for _, name := range names {
				if st.Stack != name {
					continue
				}
				said += st.String() + "\n"
				if st.Commit == commit && st.Sync == "synced" && st.Health == "healthy" && st.Reason == "" {
					n++
				}
			}
		}
		return n == len(names), said
	})
}

// seen is what tells whether a service was touched.
type seen struct {
	id      string
	version uint64
	task    string
}

func (s *stage) three(ctx context.Context) (web, assets, worker seen, err error) {
	var errs [3]error
	web, errs[0] = s.one(ctx, webStack, "web")
	assets, errs[1] = s.one(ctx, webStack, "assets")
	worker, errs[2] = s.one(ctx, workerStack, "worker")
	return web, assets, worker, errors.Join(errs[:]...)
}

func (s *stage) one(ctx context.Context, stack, key string) (seen, error) {
	list, err := s.Services(ctx, stack)
	if err != nil {
		return seen{}, err
	}
	svc, ok := list[stack+"_"+key]
	if !ok {
		return seen{}, fmt.Errorf("no service %s_%s", stack, key)
	}
	tasks, err := s.Tasks(ctx, stack)
	if err != nil {
		return seen{}, err
	}
	out := seen{id: svc.ID, version: svc.Version.Index}
	for _, t := range tasks[svc.ID] {
		if t.Status.State == swarm.TaskStateRunning {
			out.task += t.ID
		}
	}
	return out, nil
}

// secretInside says that web's container holds the secret: its SHA-256, asked
// from the app itself.
func (s *stage) secretInside(ctx context.Context, want string) error {
	return lab.Poll(ctx, patience, func() (bool, string) {
		got, err := s.SecretIn(ctx, webStack+"_web", "db-password")
		if err != nil {
			return false, err.Error()
		}
		return got == fmt.Sprintf("%x", sha256.Sum256([]byte(want))), "the secret in the container is another one"
	})
}

// count waits until the web stack has n secrets.
func (s *stage) count(ctx context.Context, n int) error {
	return lab.Poll(ctx, patience, func() (bool, string) {
		o, err := s.Stack(ctx, webStack)
		return err == nil && len(o.Secrets) == n, fmt.Sprintf("secrets: %v, want %d", o.Secrets, n)
	})
}

// fires waits until exactly one alert fires, for the web stack, whose
// description says why.
func (s *stage) fires(ctx context.Context, why string) error {
	return lab.Poll(ctx, patience, func() (bool, string) {
		list, err := lab.Firing(ctx, s.alerts, "demo")
		if err != nil || len(list) != 1 {
			return false, fmt.Sprint("firing: ", list, err)
		}
		a := list[0]
		return a.Labels["alertname"] == "SkepStackFailed" && a.Labels["stack"] == webStack && strings.Contains(a.Annotations["description"], why), fmt.Sprint("firing: ", list)
	})
}

func (s *stage) farewell() {
	fmt.Printf(`
Every step was seen to happen. Look around:
  docker stack ls
  docker stack ps %[1]s
  docker exec $(docker ps -q -f label=com.docker.swarm.service.name=%[2]s_skep) /skep status
  the tenant's repository: %[3]s   (push to it; skep looks every second)
  Alertmanager:            %[4]s
Remove everything: make demo-down
`, workerStack, operatorStack, s.repo.Dir, s.alerts)
}
