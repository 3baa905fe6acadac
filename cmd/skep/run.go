package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/operator"
	"github.com/skep-gitops/skep/web"
)

func (a app) runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "follow the tenants of skep.yml until told to stop",
		Description: "The engine is DOCKER_HOST (unix, tcp; DOCKER_TLS_VERIFY, DOCKER_CERT_PATH), else the default socket.\n" +
			"SIGHUP and a changed file load skep.yml again; one that is wrong is refused, and what runs goes on.",
		Flags: []cli.Flag{configFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			return a.run(ctx, c.String("config"))
		},
	}
}

// configFlag is --config for every verb that reads skep.yml.
func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Aliases: []string{"c"}, Value: defaultConfig(), Usage: "the configuration `FILE`"}
}

// defaultConfig is skep.yml in the working directory, if there is one, else
// where deploy/skep.yml puts it.
func defaultConfig() string {
	if _, err := os.Stat("skep.yml"); err == nil {
		return "skep.yml"
	}
	return "/etc/skep/skep.yml"
}

// run starts everything and returns when all of it is gone.
func (a app) run(ctx context.Context, name string) error {
	log := slog.New(slog.NewJSONHandler(a.err, nil))
	c, err := readConfig(name)
	if err != nil {
		return err
	}
	oc, err := operatorConfig(c, log)
	if err != nil {
		return err
	}
	docker, err := deploy.Connect(a.getenv)
	if err != nil {
		return err
	}
	defer docker.Close()
	cache, release, err := lockCache(c.Cache)
	if err != nil {
		return err
	}
	defer release()
	oc.Cache = cache
	listeners, err := listen(c)
	if err != nil {
		return err
	}
	op, err := operator.New(oc, docker, log)
	if err != nil {
		closeAll(listeners)
		return err
	}
	log.Info("started", "version", version, "config", name, "tenants", len(oc.Tenants))

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return op.Run(ctx) })
	handler := web.New(op.Status)
	for _, l := range listeners {
		group.Go(func() error { return web.Serve(ctx, l, handler, log) })
	}
	r := &reloader{file: name, running: c, cache: cache, operator: op, log: log}
	group.Go(func() error { return r.watch(ctx, a.hup) })
	err = group.Wait()
	log.Info("stopped")
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// listen opens the socket and, if there is one, the address.
func listen(c config) ([]net.Listener, error) {
	socket, err := listenSocket(c.Socket)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if c.Listen == "" {
		return []net.Listener{socket}, nil
	}
	tcp, err := net.Listen("tcp", c.Listen)
	if err != nil {
		socket.Close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	return []net.Listener{socket, tcp}, nil
}

// listenSocket opens a unix socket that only its owner may use. A socket that a
// dead process left is replaced; one that answers is another skep's.
func listenSocket(name string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	if conn, err := net.DialTimeout("unix", name, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("%s: another skep answers there; give this one a socket of its own", name)
	}
	if info, err := os.Lstat(name); err == nil && info.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("%s: exists and is no socket", name)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", name)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}
