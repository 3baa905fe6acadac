// Command bench prints the figures of docs/design.md, measured on this machine,
// each beside what the daemon alone costs in the same run.
//
//	go run ./bench [-stacks 1000] [-pushes 20] [-drifts 20]
//
// It makes its own git server, instance and objects on the engine and removes
// them. Ratios are worth quoting; times depend on the machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	o := options{}
	flag.IntVar(&o.stacks, "stacks", 1000, "stacks of two services, a network, a config and a secret each")
	flag.IntVar(&o.pushes, "pushes", 20, "pushes to measure")
	flag.IntVar(&o.drifts, "drifts", 20, "drifts to measure")
	flag.IntVar(&o.touched, "touched", 100, "stacks that one commit touches")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
