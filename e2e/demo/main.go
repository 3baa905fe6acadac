// Command demo plays skep's main job on a real swarm, from the first push to the
// deletion of a stack, and checks each step.
//
//	demo up     play the story; what it made stays, to look around
//	demo down   remove everything that the demo made
//
// It needs root, a Docker Engine that is a swarm manager, git and
// prometheus-alertmanager; make demo sets them up.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// Names of what the demo makes; nothing else on the engine is touched.
const (
	operatorStack = "skep-demo" // the stack that skep itself runs as
	instance      = "demo"
	tenant        = "demo-shop"
	webStack      = tenant + "-web"
	workerStack   = tenant + "-worker"
	image         = "skep-demo/skep:1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	dir := filepath.Join(os.TempDir(), "skep-demo")
	switch {
	case len(args) == 1 && args[0] == "up":
		return up(ctx, dir)
	case len(args) == 1 && args[0] == "down":
		return down(ctx, dir)
	case len(args) == 3 && args[0] == "serve": // git repositories, in the background
		return serve(ctx, args[1], args[2])
	}
	return fmt.Errorf("usage: demo up | demo down")
}

// up plays the story from a clean start.
func up(ctx context.Context, dir string) error {
	if err := down(ctx, dir); err != nil {
		return fmt.Errorf("remove the former demo: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	s, err := newStage(ctx, dir)
	if err != nil {
		return err
	}
	if err := s.play(ctx); err != nil {
		fmt.Printf("\nThe story ended early. Look around, then: make demo-down\n  docker service logs %s_skep\n", operatorStack)
		return err
	}
	s.farewell()
	return nil
}
